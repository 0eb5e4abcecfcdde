"""`mnemos kv ask`: a model in a folder is asked about what the space knows, and it is said what was not read again."""

from __future__ import annotations

from cli_outcome import Mnemos

from kernel.kv.byte_llama import model


def test_a_model_is_asked_about_what_the_space_knows(mnemos: Mnemos) -> None:
    model().save("model")
    text = mnemos("add", "Alice moved to Lisbon in May.").out.strip()
    asked = ("kv", "ask", "Where does Alice live?", "--model", "model", "--tokens", "4")
    told = mnemos(*asked, "--json").json
    assert (told["sources"], told["taken"], told["read"]) == ([text], 0, told["tokens"])
    mnemos("kv", "warm", text, "--model", "model")
    warm = mnemos(*asked, "--order", "reuse", "--json").json
    assert warm["warm"] == [text]
    assert warm["taken"] > 20
    assert "tokens were read before" in mnemos(*asked, "--order", "reuse").out
    assert "the order is one of" in mnemos(*asked, "--order", "any", "--json").error["message"]
