"""The pytest plug-in, in a run of pytest of its own: what a method keeps passes, what it loses fails and says by how much."""

from __future__ import annotations

import pytest

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.bench.scbench.plugin import Gate

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "mnemos.bench.scbench.plugin", "-p", "no:cacheprovider")
SMALL = "length=256, turns=2, sessions=2"


def test_what_is_kept_passes_and_what_is_lost_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(f"""
        import sys

        import pytest

        assert not {{"torch", "transformers", "apsw", "onnxruntime"}} & set(sys.modules)  # the plug-in is loaded, and no model is

        def test_quantised(scbench):
            kept = scbench.keeps("kivi:bits=4", task="kv", at_least=0.9, bytes_at_most=0.8, {SMALL})
            assert kept.full == 1 and kept.turns == 4

        def test_window(scbench):
            scbench.keeps("window:share=1/16", task="kv", at_least=0.9, {SMALL})

        def test_too_large(scbench):
            scbench.keeps("kivi:bits=4", task="kv", at_least=0.5, bytes_at_most=0.01, {SMALL})

        @pytest.mark.scbench("kivi:bits=4", task="kv", at_least=0.9, {SMALL})
        def test_marked():
            pass

        @pytest.mark.scbench("window:share=1/16", task="kv", at_least=0.9, {SMALL})
        def test_marked_and_lost():
            pass

        def test_own_cache(scbench):
            def whole(model):
                from transformers import DynamicCache
                return DynamicCache(config=model.config)
            kept = scbench.keeps(whole, at_least=1.0, {SMALL})
            assert (kept.method, kept.bytes) == ("whole", 1.0)

        def test_what_the_full_cache_does_not_answer_is_refused(scbench):
            from mnemos.base.errors import Invalid, NotFound
            with pytest.raises(Invalid, match="says nothing about a method"):
                scbench.measure("full", task="repoqa", {SMALL})
            with pytest.raises(NotFound, match="there are full"):
                scbench.measure("snap", {SMALL})
    """)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = pytester.runpytest_subprocess(*PLUGIN, "--strict-markers")
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(["*window share=0.0625 on kv, multi-turn: * of the full cache's 1.000*at least 0.9 of the score were asked for*",
                                 "*kivi bits=4 on kv*at most 0.01 of the bytes*"])  # fmt: skip


def test_the_model_is_an_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_it(scbench):
            assert scbench.model == "/no/such/folder"
    """)
    pytester.runpytest_inprocess(*PLUGIN, "--scbench-model", "/no/such/folder").assert_outcomes(passed=1)
    with pytest.raises(ModelUnavailable, match="/no/such/folder"):
        Gate("/no/such/folder").measure("full")
    with pytest.raises(Invalid, match="needs a model that runs here"):
        Gate("http://127.0.0.1:9").measure(lambda model: None)
