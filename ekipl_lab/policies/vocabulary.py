"""The words that are one token each for the tiny policy.

Any other text still round-trips, byte by byte. Every word is a token with its leading space; those
that open a question or an answer are one without it too. A new word makes a new tokenizer; a
checkpoint keeps the one that it was trained with.
"""

from __future__ import annotations

SHAPES = "cube sphere cylinder cone ball circle square triangle star diamond cross ring pyramid"
COLOURS = "red blue green yellow purple orange cyan gray brown pink black white"
SIZES = "small medium large tiny big"
MATERIALS = "rubber metal glass matte shiny"
PLURALS = (
    "cubes spheres cylinders cones balls circles squares triangles stars diamonds crosses rings "
    "pyramids objects things cells angles sides images changes steps shapes colors sizes "
    "materials figures ones"
)
QUESTION = (
    "How many are there Is it the a an of and or not in on is if all any that how what which "
    "What Which Does do does more fewer less than same different equal object thing image "
    "color shape size material after before first second both either neither then left remain "
    "remaining remove removed removing Remove subtract add added exactly only other another "
    "each every total number difference between as to from with without by one two three four "
    "five six seven eight nine ten zero none no yes true false be would will at has have "
    "you take away were was leave leaves leaving get gets join joins but match matches matching "
    "against minus plus times over under greater smaller most least sum count Count "
    "counting counted found find Find list List describe Describe scene look Look see it's its "
    "this these those they so thus hence therefore because since also still now next kept "
    "keep gone out drop dropped skip skipped stay stays right wrong answer Answer compare Compare "
    "Suppose suppose When when Take taken make makes made More Fewer Say say Where where for For"
)
PLACES = (
    "top bottom middle center upper lower row column cell corner above below near far front "
    "behind front_left front_right behind_left behind_right view seen side place position moved "
    "moves move unchanged changed change turned becomes became was new old initial final"
)
GEOMETRY = (
    "angle angles degrees degree triangle line right isosceles square rectangle length width "
    "height base side hypotenuse area perimeter point points label labels value values given "
    "missing straight Pythagoras legs leg root squared half product parallelogram quadrilateral "
    "diagonal full turn up Read read figure says picture pictures Second goes turns "
    "unit units cm deg choose Choose option options choice equals known unknown opposite adjacent"
)
FIRST = (
    "yes no none equal same different more fewer true false unchanged acute obtuse things color "
    "size shape material position front behind left right front_left front_right behind_left "
    "behind_right line rectangle triangle quadrilateral parallelogram diagonal point root sides"
)
CALLS = "change_size change_color change_material change_shape change_position"
ROLES = "p o x y z user assistant system step Step"
LETTERS = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _unique(*lists: str) -> list[str]:
    return list(dict.fromkeys(word for text in lists for word in text.split()))


def words() -> list[str]:
    """All words once, in the order of the lists above; each is a token after a space."""
    return _unique(
        SHAPES, COLOURS, SIZES, MATERIALS, PLURALS, QUESTION, PLACES, GEOMETRY, CALLS, ROLES,
        LETTERS,
    )  # fmt: skip


def first_words() -> list[str]:
    """The words that are tokens without a space too: those that open a question or an answer."""
    capital = [word for word in words() if word[0].isupper()]
    return _unique(SHAPES, COLOURS, SIZES, MATERIALS, FIRST, CALLS, ROLES, " ".join(capital))
