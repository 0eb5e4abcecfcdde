from mnemos.bench.evidence import Held, bearing, held

TURN = "I moved last year. My new flat is in Lisbon, near the river. It is small.\nThe rent was 900 euros."


def test_whole_turn_is_held_whatever_the_white_space() -> None:
    assert held(TURN, True, f"[1] Alice:\n{TURN.replace(' ', '  ')}\n", "Where?", "Lisbon") == Held(True, True)


def test_a_cut_turn_is_held_by_its_answer_only() -> None:
    assert held(TURN, True, "… My new flat is in Lisbon, near the river. …", "Where does she live?", "Lisbon") == Held(False, True)
    assert held(TURN, True, "… It is small. …", "Where does she live?", "Lisbon") == Held(False, False)


def test_text_without_a_hit_proves_nothing() -> None:
    assert held(TURN, False, TURN, "Where?", "Lisbon") == Held(False, False)


def test_bearing_sentences() -> None:
    assert bearing(TURN, "Where does she live?", "Lisbon") == ["My new flat is in Lisbon, near the river."]
    assert bearing(TURN, "How much rent, in euros?", "900") == ["The rent was 900 euros."]
    assert bearing(TURN, "How many rooms has the new flat?", "several") == ["My new flat is in Lisbon, near the river."]
    assert bearing("Lisbonne is a word. So is Lisbon!", "?", "lisbon") == ["So is Lisbon!"]
