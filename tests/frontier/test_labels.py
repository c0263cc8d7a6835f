"""Labels of marks: none over another, and none outside."""

import itertools

from del_audit.frontier.labels import _box, place_labels
from mechanisms.randomness import simulation_generator


def test_no_label_lies_over_another_or_outside():
    generator = simulation_generator(0, "marks")
    marks = [(float(x), float(y)) for x, y in generator.random((40, 2)) * (800, 400)]
    words = [f"label {place}" for place in range(40)]
    found = place_labels(marks, words, 800, 0, 400)
    boxes = [_box(each.words, each.x + each.dx, each.y, each.anchor) for each in found]
    assert 25 < len(found) <= 40
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    assert all(box[0] >= 0 and box[2] <= 800 and box[1] >= 0 and box[3] <= 400 for box in boxes)


def test_marks_on_one_place_get_as_many_labels_as_there_is_room_for():
    assert len(place_labels([(100.0, 100.0)] * 9, ["the same"] * 9, 200, 0, 200)) < 9
