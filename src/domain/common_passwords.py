"""Passwords that attackers try first. Decision 0006 explains how the list was made and why it is in the domain."""

from domain.text import normalize_identifier

LONGEST_AFFIX = 5  # a year and a sign
LONGEST_UNIT = 4
SHORTEST_RUN = 4

RUNS = (
    "0123456789012345678901234567890",
    "0987654321098765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "mnbvcxzlkjhgfdsapoiuytrewq",
    "zyxwvutsrqponmlkjihgfedcba",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "a1b2c3d4e5f6g7h8i9j0",
    "qazwsxedcrfvtgbyhnujmikolp",
    "zaq12wsxcde34rfvbgt56yhn",
    "!qaz2wsx#edc4rfv",
    "qweasdzxcrtyfghvbnuiojkm",
    "йцукенгшщзхъфывапролджэячсмитьбю",
    "!@#$%^&*()_+",
    "147258369147258",
    "789456123789456",
    "741852963741852",
    "159357258456159",
    "321654987321654",
    "1122334455667788990011",
    "998877665544332211",
    "0102030405060708",
    "1020304050607080",
    "1234567887654321",
    "1234554321123456",
)
"""Sequences of the keyboard and the alphabet. Any part of one with at least SHORTEST_RUN characters is common."""

_WORDS = """
a aa aaa ab abc abcabc abcd abcde abcdef abcdefg access account action adam admin adminadmin administrator adrian
agent aini airborne airport alabama alaska albert alejandra alejandro alex alexander alexandra alexis alfred alice
alicia allison alpha amanda amber america american amigos amorcito amsterdam anaconda andrea andreas andrei andrew
android angel angela angelica angelina angels animal anthony antonio anything apollo apple apples april aquarius
archie argentina arigato arizona arsenal arthur asd asdasd asdf asdfasdf asdfgh asdfghjkl ashley assassin astros
atlanta august aurora austin australia autumn avatar awesome azerty azertyuiop babies baby babyboy babygirl badboy
badger bailey banana bananas bandit barbara barbie barcelona barney baseball basketball bastard batman battery beach
bean bear beatles beautiful beauty beaver beer benjamin berlin bernard bestfriend bethany bigboy bigdaddy bigdog
bigmac billybob birdie birthday bismillah biteme blabla black blackbird blackcat blackie blackjack blessed blessing
blink blizzard blonde blossom blue bluebird blueeyes bluesky bobby bond bonjour booboo booger boogie boomer boston
bradley brandon brandy brasil braves brazil brian bridget britney broncos brooke brooklyn brother brownie bruno bubba
bubble bubbles buddha buddy bulldog bulldogs bullet buster butter buttercup butterfly button caesar california calvin
camaro cameron canada cancer candy captain cardinal cardinals carlos carmen carolina caroline cartman casper cassie
catalina catherine celtic celtics center chance change changeit changeme chapter charles charlie charlotte cheese
chelsea cherry chester chevrolet chevy chicago chicken chiefs children chocolate chouchou chris chrissy christ
christian christina christine christmas christopher chuck church cinderella claudia cleveland clinton clover cocacola
coconut coffee college colorado columbia comet company compaq computer concrete connect connor contrasena contraseña
control cookie cookies cooper copper corinthians corona corvette cosmos country courage courtney cowboy cowboys coyote
crazy creative cricket cristian cristina crystal cuddles cupcake cutie cutiepie cynthia daddy daddysgirl daisy dakota
dallas daniel daniela danielle danny darkness darling darren data database david dawn deborah december default
defender delta demo denise dennis denver desert desire destiny deutschland developer dexter diamond diamonds diana
diesel digital direct disney doctor dodgers doggie doggy dolphin dolphins dominic dominique donald donkey donna
doraemon dorothy doudou douglas dragon dragonball dragons dream dreamer dreams dropbox drowssap drummer duncan eagle
eagles eclipse eddie edward einstein elephant elizabeth elvis emily eminem emmanuel empire energy england enter
enterprise eric erica estrella estrellas eternity europe everton evolution example excalibur exclusive explorer
extreme facebook fairy faith falcon falcons family fantasy farmer fashion father february felicia felix fender
fernanda fernando ferrari fiesta fireball firebird firefighter firefox fisher fishing flamengo flamingo flash florida
flower flowers fluffy football forest forever forget formula fortune foxtrot france francesca francis francisco frank
frankie franklin freddy free freedom freepass freeuser french friday friend friends friendship froggy fuckyou fussball
gabriel gabriela gabrielle galaxy gambit games gandalf gangster garcia garden garfield gateway gator geheim geheimnis
gemini general genesis genius george georgia gerald german germany ghost giants gibson ginger giovanni girls gizmo
gladiator gloria godisgood godzilla golden goldfish golfer goober goodluck google gordon gorgeous grace gracie grandma
grandpa grateful green greenday gregory griffin guest guitar gunner hacker hahaha hallo hallohallo hamilton hamlet
hammer handover hannah happy happyday hardcore harley harrison harry harvey haslo hawaii hawkeye heart hearts heather
heaven hejsan hello hellohello hellokitty helpme hercules heritage hiphop hockey hola holiday holland hollywood homer
honda honey horses hotdog hottie houston hunter hunting iceman iloveu iloveyou imagine immortal inferno infinity
internet inuyasha invisible ireland ironman isabel isabella isabelle island iverson jackie jackson jacob jaguar
jaguars jamaica james jamie january japan jasmin jasmine jason jasper jayden jeffrey jellybean jennifer jenny jeremy
jerome jessica jessie jesus jesuschrist jetaime jimmy joanna johannes john johnny johnson jonathan jordan joseph
joshua julia julian juliana juliet july june junior jupiter justice justin kaitlyn karen karina katherine kathleen
kathryn katie kawasaki kelly kennedy kenneth kennwort kevin killer kimberly king kingdom kingkong kings kitten kittens
kitty knight knights kristen kristin kristina lakers lalala lancer laura lauren leather lebron legend leonard leonardo
leslie letmein letmeinnow liberty library lightning lillian lincoln linda linkin linkinpark little liverpool lizard
lizzie lkjhgf logan login logitech lollipop london loser louise loulou love loveless lovely loveme lover lovers
loveyou loving lucifer lucky luckydog lösenord madison maggie magic magnum malcolm manager manchester manchesterunited
margaret maria mariah mariana marie marina mario mariposa marlboro marley marseille marshall martha martin martina
marvel maryjane master masterkey matrix matthew maverick maximus maxwell mclaren melanie melissa memory mercedes
mercury merlin mestre metallica mexico miami michael michaeljackson michel michele michelle michigan mickey
mickeymouse microsoft midnight miguel military miller million minecraft miracle miranda mitchell mohamed mohammed
molly monday monica monika monkey monkeys monster montana montreal moonlight morgan morning motdepasse mother motorola
mountain movies muffin muhammad murphy music mustang mylove myname mypassword myspace mystery naruto nascar natalia
natalie natasha nathan ncc1701 ncc1701d nelson network never newlife newpass newpassword newport newyork nicholas
nichole nicolas nicole nikita ninja nintendo nirvana nissan nobody nokia nopassword norman nothing november number
octavia october oliver olivia online openopen orange orlando ou812 oxford pa55w0rd pa55word pacific packers paladin
pamela panasonic pantera panther panthers paradise paris parker parola parool pass passpass passport passw passwd
password passwort patches patricia patrick patriots pavilion peace peaches peanut pebbles pegasus penguin penguins
people pepper peter phantom philip phillip phoenix phone picasso pickle picture pikachu pirate pirates playboy player
playstation please pokemon polaris police polska pookie popcorn porsche portugal postgres power powers precious
predator premium presario prince princes princesa princess private professor promise public pumpkin puppies purple
pussycat qaz qazqaz qq qwaszx qwe qweasd qweqwe qwer qwert qwerty qwertyqwerty qwertyu rabbit rachel racing raiders
rainbow raining ranger rangers raptor rapunzel raymond realmadrid rebecca rebel redhead redskins redsox redwings
reggae regina remember ricardo richard robert roberto robin rocket rockets rocknroll rockstar rockyou rodrigo rolltide
romance romeo ronaldinho ronaldo root rootroot roottoor rosebud roses royals rugby runner running russia ryan sabrina
sailor saints sakura salasana sallad salvador samantha sammy samson samsung samuel sandra santiago santos sarah sasuke
saturday saturn savannah scarface scarlett schalke schalke04 schatz school scooby scoobydoo scooter scorpio scorpion
scotland scott seahawks sebastian secret secrets secure security senha senhas september serenity sergey server service
shadow shakira shannon sharon sheila shelby sherlock shopping shorty sierra silver simon simone simple simpson
simpsons single skater skeeter skipper skittles skywalker slayer slipknot smile smiley smith smokey snickers snoopdog
snoopy snowball snowboard snowflake snowman soccer softball soldier soleil solomon something sommer sonnenschein
sophia sophie soprano southside spanky sparkle sparky spartan spartans special speedy spencer spider spiderman spirit
spitfire sponge spongebob spring springfield stanley star starcraft starfish stargate starlight stars startrek
starwars steelers stella stephan stephanie stephen steve steven stewart stranger strawberry student success sugar
summer sunday sunflower sunny sunrise sunset sunshine super superman supernatural superstar support supreme survivor
susan sweet sweetheart sweetie sweetness sweetpea swimming swordfish sydney sylvester sylvia system tamara tampabay
tarheels taurus taylor teacher teamo teamomucho teddy teddybear teiubesc tennis tequiero teresa test tester testing
testpass testtest texas theman theresa thirteen thomas thuglife thunder thursday thx1138 tiffany tigers tigger timothy
tinkerbell titanic tomcat topgun topsecret toshiba tottenham toyota trains travis treasure triangle tricia trigger
trinity triumph trouble trumpet trustno trustno1 tucker turtle tweety twilight twister tyler ultimate unicorn
universal universe university unknown user username valentin valentina valentine valeria vampire vanessa vanilla
vegeta velocity verbatim verizon veronica vfhbyf vfrcbv victor victoria victory viking vikings vincent violet viper
virginia virgo vision vladimir voyager wachtwoord walker walter wangwang warcraft warrior warriors water webmaster
wednesday welcome welcomehome welkom welkomwelkom westside whatever whatsup whiskey white wildcat wildcats william
williams willie willow wilson windows winner winston winter wisdom wizard woaini wolf wolfgang wolverine wonder
woodland wordpass wrestling wrinkles xavier xbox xxx yamaha yankee yankees yellow youandme yourmom yvonne zachary
zaqwsx zeppelin zidane zxc zxcv zxcvbn zxcvbnm любовь пароль привет
"""
WORDS = frozenset(_WORDS.split())
"""Common words. A few digits or signs around a word, or digits in place of similar letters, are ignored."""

LOOKALIKES = str.maketrans("@4803!1$57", "aaboeiisst")


def is_common(password: str) -> bool:
    """Return whether attackers would try this password early.

    That is a common word, a part of a sequence of the keyboard or the alphabet, or a repetition of a common word or of
    a few characters. Upper case, a few digits or signs before or after a word or sequence, and digits in place of
    similar letters make no difference.
    """
    normalized = normalize_identifier(password)
    return (
        _is_run(normalized)
        or _repeats(normalized)
        or any(stem in WORDS or _is_run(stem) for stem in _stems(normalized))
    )


def _is_run(text: str) -> bool:
    """Return whether the text is a part, of at least SHORTEST_RUN characters, of a keyboard or alphabet sequence."""
    return len(text) >= SHORTEST_RUN and any(text in run for run in RUNS)


def _repeats(text: str) -> bool:
    """Return whether the text consists of one unit, repeated: at most LONGEST_UNIT characters, or a common word.

    A text that is itself no longer than LONGEST_UNIT counts as well.
    """
    unit = text[: (text + text).find(text, 1)]
    return len(unit) <= LONGEST_UNIT or (unit != text and unit in WORDS)


def _stems(text: str) -> set[str]:
    """Return the text, and what is left of it without an affix (see _is_affix()) at the start, the end or both.

    Affixes of every length are tried: `word12` gives `word12`, `word1` and `word`. Those without a letter are left out.
    Each is also returned with look-alikes replaced
    by letters (`p4ssw0rd`: `password`).
    """
    starts = {0, *(n for n in range(1, len(text)) if _is_affix(text[:n]))}
    ends = {len(text), *(n for n in range(1, len(text)) if _is_affix(text[n:]))}
    stems = {text[start:end] for start in starts for end in ends if start < end and _has_letter(text[start:end])}
    return stems | {stem.translate(LOOKALIKES) for stem in stems}


def _is_affix(text: str) -> bool:
    """Return whether the text has no letter and is an addition that people make to a word.

    That is a text of at most LONGEST_AFFIX characters, or any part of `1234567890`.
    """
    return not _has_letter(text) and (len(text) <= LONGEST_AFFIX or text in "1234567890")


def _has_letter(text: str) -> bool:
    """Return whether the text contains a letter."""
    return any(map(str.isalpha, text))
