import xml.etree.ElementTree as ElementTree

from benchmarks.report.svg import LEFT, RIGHT, WIDTH, Bar, bars

NAME = "{http://www.w3.org/2000/svg}"
ITEMS = [Bar("walpy", 1.0, 0.5, 2.0, "1 s", is_own=True), Bar("tar | <lz4> & cat", 2.0, 2.0, 4.0, "2 s")]


def test_a_plot_is_well_formed_and_shows_every_bar() -> None:
    root = ElementTree.fromstring(bars("a < b", ITEMS))
    rectangles = root.findall(f"{NAME}rect")[1:]
    texts = [element.text for element in root.findall(f"{NAME}text")]
    assert texts == ["a < b", "walpy", "1 s", "tar | <lz4> & cat", "2 s"]
    widths = [float(one.attrib["width"]) for one in rectangles]
    assert widths[0] * 2 == widths[1]
    assert rectangles[0].attrib["fill"] != rectangles[1].attrib["fill"]


def test_the_longest_spread_fits_and_the_floor_is_drawn_at_its_value() -> None:
    root = ElementTree.fromstring(bars("title", ITEMS, line=4.0, line_label="equal"))
    assert root.findall(f"{NAME}text")[-1].text == "equal"
    line = root.findall(f"{NAME}path")[-1].attrib["d"]
    assert line.startswith(f"M{WIDTH - RIGHT:.1f} ")
    assert f"M{LEFT}" not in line


def test_a_bar_without_spread_has_no_whiskers() -> None:
    assert len(ElementTree.fromstring(bars("title", [Bar("a", 1.0, 1.0, 1.0, "1")])).findall(f"{NAME}path")) == 0
    assert len(ElementTree.fromstring(bars("title", ITEMS)).findall(f"{NAME}path")) == 2
