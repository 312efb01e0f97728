"""The judge of the watch itself: it needs no cluster."""

from label_history import Changed, Deleted, Event, Listed, Pod, labelled_at, two_leaders


def pod(name: str, role: str | None, version: int = 1, terminating: bool = False) -> Pod:
    return Pod(name, f"uid-{name}", str(version), role, "7", "10.0.0.1", "node", True, terminating, 0)


A_LEADS, A_FOLLOWS = pod("a", "leader"), pod("a", "follower", 2)
B_LEADS, B_FOLLOWS = pod("b", "leader", 3), pod("b", "follower")
START = Listed(1.0, (A_LEADS, B_FOLLOWS))


def test_a_label_that_moves_is_no_overlap() -> None:
    assert two_leaders([START, Changed(2.0, A_FOLLOWS), Changed(3.0, B_LEADS)]) == []


def test_two_labels_for_the_length_of_one_event_are_found() -> None:
    [found] = two_leaders([START, Changed(2.0, B_LEADS), Changed(2.0, A_FOLLOWS)])
    assert found == "a (term 7, resourceVersion 1) and b (term 7, resourceVersion 3)"


def test_two_labels_in_a_list_are_found() -> None:
    assert two_leaders([Listed(1.0, (A_LEADS, B_LEADS))])


def test_a_pod_on_its_way_out_still_counts() -> None:
    assert two_leaders([Listed(1.0, (pod("a", "leader", terminating=True), B_LEADS))])


def test_a_deleted_pod_does_not() -> None:
    assert two_leaders([START, Deleted(2.0, A_LEADS), Changed(3.0, B_LEADS)]) == []


def test_a_new_list_replaces_what_was_known() -> None:
    assert two_leaders([START, Listed(2.0, (B_LEADS,))]) == []


def test_the_moment_of_a_label_is_that_of_its_event() -> None:
    history: list[Event] = [START, Changed(2.0, A_FOLLOWS), Changed(3.0, B_LEADS), Changed(4.0, B_LEADS)]
    assert labelled_at(history, "b", after=1.5) == 3.0
    assert labelled_at(history, "a", after=1.5) is None
