"""The vocabulary of the world and what is always true in it.

All words are lower case and single words, so that a small byte-level tokenizer can give most of
them one token. The tables are written as text blocks: a row a line, columns by white space, and
comma-separated lists inside a column.
"""

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WOMEN = _words(
    "anna bella clara dora ella fiona greta hanna ida julia "
    "karla lena mia nora olga paula rosa sara tina vera"
)
MEN = _words(
    "adam ben carl david emil frank george hugo ivan jonas "
    "kurt leo max noah oscar peter robert simon tom victor"
)
PEOPLE = WOMEN + MEN

PLACES = _words(
    "kitchen cellar attic garden barn stable mill school church market harbor tower forest field "
    "meadow river lake cave bridge beach hill orchard bakery library workshop hall inn station "
    "yard shed"
)

COLORS = _words("red blue green yellow white black brown gray")

THINGS = _words(
    "ball book coin hat ring doll kite mask flute candle basket purse watch stone flag bottle "
    "pillow mirror feather drum"
)
"""Movable things without fixed properties: where they are and whose they are is told each time."""

TIMES = ("in the morning", "at noon", "in the evening", "later", "after that", "soon", "then")

_ANIMALS = """
rabbit    clover   burrow  thump    bunny     fur
cow       grass    barn    moo      calf      hair
horse     oats     stable  neigh    foal      hair
sheep     grass    fold    baa      lamb      wool
goat      leaves   fold    bleat    kid       wool
pig       turnips  sty     grunt    piglet    bristles
dog       bones    kennel  bark     puppy     fur
cat       fish     house   meow     kitten    fur
mouse     crumbs   hole    squeak   pinky     fur
bear      honey    cave    growl    cub       fur
fox       eggs     den     yelp     cub       fur
wolf      meat     den     howl     whelp     fur
owl       mice     tree    hoot     owlet     feathers
frog      flies    pond    croak    tadpole   skin
duck      weeds    pond    quack    duckling  feathers
hen       corn     coop    cluck    chick     feathers
bee       nectar   hive    buzz     grub      hair
squirrel  nuts     tree    chatter  kitten    fur
hedgehog  worms    hedge   snort    hoglet    spines
deer      bark     forest  bellow   fawn      hair
otter     fish     river   whistle  whelp     fur
stork     frogs    nest    clatter  chick     feathers
mole      worms    burrow  scratch  grub      fur
snake     eggs     hole    hiss     snakelet  scales
lizard    flies    wall    click    hatchling scales
goose     grass    coop    honk     gosling   feathers
"""

_TOOLS = """
knife    cut     cut       bread,cheese,meat,rope          steel   kitchen
axe      split   split     log,branch,stump,plank          iron    shed
hammer   hit     hit       nail,peg,post,stake             iron    workshop
spade    dig     dug       hole,ditch,well,pit             iron    garden
broom    sweep   swept     floor,stairs,porch,path         straw   hall
needle   mend    mended    shirt,coat,sock,sail            steel   attic
brush    paint   painted   wall,door,fence,picture         wood    workshop
bucket   fetch   fetched   water,sand,milk,coal            tin     stable
ladder   reach   reached   roof,loft,shelf,ledge           wood    barn
rod      catch   caught    trout,eel,carp,crab             wood    harbor
lamp     light   lit       tunnel,room,road,stage          glass   cellar
oven     bake    baked     cake,pie,loaf,bun               brick   bakery
pot      boil    boiled    soup,rice,stew,tea              copper  kitchen
pen      write   wrote     letter,song,note,poem           brass   school
key      open    opened    gate,chest,box,drawer           brass   tower
rake     gather  gathered  hay,leaves,moss,weeds           iron    field
soap     wash    washed    plate,cup,spoon,bowl            fat     river
boat     cross   crossed   sea,bay,pond,stream             wood    lake
cart     haul    hauled    stones,sacks,barrels,bricks     wood    yard
cloth    wipe    wiped     table,bench,window,glass        cotton  inn
glue     fix     fixed     vase,toy,chair,jug              resin   school
net      trap    trapped   moth,bat,rat,finch              string  forest
scale    weigh   weighed   flour,gold,sugar,salt           brass   market
map      find    found     treasure,castle,island,camp     paper   library
blanket  warm    warmed    baby,child,guest,sailor         wool    attic
"""

_JOBS = """
baker      bakery    bread
miller     mill      flour
smith      forge     horseshoes
weaver     attic     cloth
potter     shed      jugs
tailor     hall      coats
farmer     field     corn
fisher     harbor    nets
brewer     cellar    beer
carpenter  workshop  tables
printer    library   books
gardener   garden    flowers
cook       inn       soup
merchant   market    silk
teacher    school    maps
shepherd   meadow    cheese
"""

_PLANTS = """
apple    red     sweet   tree
lemon    yellow  sour    tree
plum     purple  sweet   tree
cherry   red     sour    tree
pear     green   sweet   tree
grape    purple  sweet   vine
carrot   orange  sweet   ground
potato   brown   mild    ground
onion    white   sharp   ground
pepper   red     hot     bush
cabbage  green   mild    ground
berry    blue    sour    bush
bean     green   mild    vine
radish   red     sharp   ground
walnut   brown   bitter  tree
rose     white   bitter  bush
"""


@dataclass(frozen=True)
class Animal:
    """An animal and the five things that are always true of it."""

    name: str
    food: str
    home: str
    sound: str
    young: str
    cover: str


@dataclass(frozen=True)
class Tool:
    """A tool, the deed it serves (now and past), what the deed is done to, and its two facts."""

    name: str
    verb: str
    past: str
    targets: tuple[str, ...]
    material: str
    home: str


@dataclass(frozen=True)
class Job:
    """A trade, where it is worked and what it makes."""

    name: str
    place: str
    product: str


@dataclass(frozen=True)
class Plant:
    """A plant that is eaten (or smelled): colour, taste and what it grows on or in."""

    name: str
    color: str
    taste: str
    grows: str


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


ANIMALS = tuple(Animal(*row) for row in _rows(_ANIMALS))
TOOLS = tuple(Tool(n, v, p, tuple(t.split(",")), m, h) for n, v, p, t, m, h in _rows(_TOOLS))
JOBS = tuple(Job(*row) for row in _rows(_JOBS))
PLANTS = tuple(Plant(*row) for row in _rows(_PLANTS))
