"""The words that are one token each for the tiny policy.

Any other text still round-trips, byte by byte. Every word has two tokens, bare and with a leading
space. A new word belongs at the end of its line's list, and makes a new tokenizer: a checkpoint
keeps the one that it was trained with.
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
    "this these those they so thus hence therefore because since since also still now next kept "
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
    "unit units cm deg choose Choose option options choice equals known unknown opposite adjacent"
)
CALLS = "change_size change_color change_material change_shape change_position"
ROLES = "p o x y z user assistant system step Step"
LETTERS = " ".join("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def words() -> list[str]:
    """All words once, in the order of the lists above."""
    lists = (
        SHAPES, COLOURS, SIZES, MATERIALS, PLURALS, QUESTION, PLACES, GEOMETRY, CALLS, ROLES,
        LETTERS,
    )  # fmt: skip
    return list(dict.fromkeys(word for text in lists for word in text.split()))
