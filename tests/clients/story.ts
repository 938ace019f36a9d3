// The README's story, told by the client that @hey-api/openapi-ts generates: `node story.js URL`.

import assert from 'node:assert/strict';

import { client } from './hey/client.gen.js';
import { createItem, createUser, listItems, listTransfers, readItem, signIn, transferItem } from './hey/index.js';
import type { paths } from './types.js';

const password = 'analytical engine';

// That the types of openapi-typescript are those of the API is shown by their use.
type Item = paths['/items/{item_id}']['get']['responses']['200']['content']['application/json'];
type Status = NonNullable<NonNullable<paths['/tasks']['get']['parameters']['query']>['status']>;
const status: Status = 'in_progress';
assert.equal(status, 'in_progress');

async function signUp(name: string) {
  const { data } = await createUser({
    body: { email: `${name}@example.org`, username: name, password },
    throwOnError: true,
  });
  return data;
}

async function tell(url: string) {
  client.setConfig({ baseUrl: url });
  await signUp('ada-node');
  const grace = await signUp('grace-node');
  const { data: tokens } = await signIn({ body: { username: 'ada-node', password }, throwOnError: true });
  client.setConfig({ auth: tokens.access_token });

  const created: Item[] = [];
  for (let n = 0; n < 5; n++) {
    const { data } = await createItem({ body: { name: `Note ${n}`, price: 12.5 }, throwOnError: true });
    created.push(data);
  }
  const notes = created[0]!;
  assert.deepEqual([notes.name, notes.price, notes.version], ['Note 0', 12.5, 1]);

  const transfer = (key: string) =>
    transferItem({
      path: { item_id: notes.id },
      body: { to_user_id: grace.id },
      headers: { 'If-Match': '"1"', 'Idempotency-Key': key },
    });

  const first = await transfer('notes-to-grace');
  assert.equal(first.data?.version, 2);
  assert.equal(first.data?.owner.username, 'grace-node');
  const again = await transfer('notes-to-grace');
  assert.deepEqual(again.data, first.data);
  assert.equal(again.response?.headers.get('Idempotency-Replayed'), 'true');
  const refused = await transfer('notes-to-grace-once-more');
  assert.equal(refused.error?.status, 403);
  assert.equal(refused.error?.type, '/problems/item-not-owned');

  const { data: history } = await listTransfers({ path: { item_id: notes.id }, throwOnError: true });
  assert.deepEqual(history.items.map((row) => [row.number, row.to_user_id]), [[1, grace.id]]);

  const known = await readItem({ path: { item_id: notes.id }, headers: { 'If-None-Match': '"2"' } });
  assert.equal(known.response?.status, 304);

  const walked: string[] = [];
  let cursor: string | undefined;
  do {
    const { data: page } = await listItems({ query: { limit: 2, cursor }, throwOnError: true });
    walked.push(...page.items.map((item) => item.id));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  assert.equal(new Set(walked).size, walked.length);
  assert.ok(walked.length >= 5);
}

await tell(process.argv[2]!);
