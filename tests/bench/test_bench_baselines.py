import numpy as np

from mnemos.bench.baselines import Bm25, fuse, rank_dense

TEXTS = ["The cat sat on the mat.", "Dogs were running in the park", "A dog runs", "Nothing here"]


def test_bm25_stems_and_joins_by_or() -> None:
    index = Bm25(TEXTS)
    assert index.rank("dog running", 5)[:2] == [2, 1]  # both match by stem, the shorter is better
    assert index.rank("cat elephants", 5) == [0]
    assert index.rank("zebra", 5) == []


def test_bm25_takes_any_question() -> None:
    index = Bm25(TEXTS)
    for question in ['"cat', "cat AND (", "NEAR(cat dog)", "cat*", "text:cat", "", "?!", "c'at -dog", "\x00cat"]:
        index.rank(question, 3)


def test_dense_orders_by_cosine() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6]], dtype=np.float32)
    assert rank_dense(vectors, np.array([1, 0], dtype=np.float32), 2) == [0, 2]


def test_fusion_by_hand() -> None:
    # 7 is first and third: 1/61 + 1/63; 3 is second and first: 1/62 + 1/61, which is more
    assert fuse([[7, 3, 1], [3, 2, 7]], 4) == [3, 7, 2, 1]
    assert fuse([[], [5]], 3) == [5]
