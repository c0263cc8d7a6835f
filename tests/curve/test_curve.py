"""`del-audit curve`: every curve against direct sums at 50 digits, what is drawn, what is written, what is refused."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

import matplotlib.image
import mpmath
import numpy as np
import pytest

from del_audit.accounting import Accountant, GaussianLimit, guarantee
from del_audit.cli import main
from del_audit.curve.curves import Picture, Release
from del_audit.curve.draw import rendered
from del_audit.curve.figure import COLOURS, inline_svg, svg
from del_audit.curve.page import NOTHING, page
from mechanisms.errors import UserError

ONE_TRIAL = "bits=1,dim=1,clip=1,mu=1"
PHRASE = "bits=2,dim=6,clip=0.05,mu=1.5,unit=phrase,tokens=3"
CERTIFIED = "bits=8,dim=128,clip=1,mu=0.2,name=many trials"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture():
    return Picture.of([Release.parse(text) for text in (ONE_TRIAL, PHRASE, CERTIFIED)], 1e-5)


@pytest.fixture(scope="module")
def drawn(picture):
    return ElementTree.fromstring(svg(picture))


@pytest.fixture(scope="module")
def read(picture):
    """What the page's script reads: the two panels."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page(picture), re.S)[1])


def _masses(curves):
    """Each count's mass under the two worst inputs, from integers: the thresholds and the trials."""
    spec, n = curves.release.spec, curves.trials
    p = Fraction(spec.threshold_high, 2**32)
    weights = [p**x * (1 - p) ** (n - x) for x in range(n + 1)]
    counts = [mpmath.binomial(n, x) for x in range(n + 1)]
    exact = [counts[x] * mpmath.mpf(weights[x].numerator) / weights[x].denominator for x in range(n + 1)]
    return exact, exact[::-1]


def _delta(curves, epsilon):
    high, low = _masses(curves)
    factor = mpmath.exp(mpmath.mpf(float(epsilon)))
    return mpmath.fsum(max(p - factor * q, 0) for p, q in zip(high, low, strict=True))


def _beta(curves, alpha):
    """Neyman and Pearson's test: outcomes are taken in falling order of likelihood until alpha is used up."""
    left, power = mpmath.mpf(float(alpha)), mpmath.mpf(0)
    for p, q in reversed(list(zip(*_masses(curves), strict=True))):
        share = min(1, left / q)
        left, power = left - share * q, power + share * p
        if left <= 0:
            break
    return 1 - power


def _gaussian_beta(alpha, mu):
    return mpmath.ncdf(mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(float(alpha))) - mu)


@pytest.mark.parametrize("which", [0, 1])
def test_exact_curves_are_the_sums_of_their_definition_from_the_safe_side(picture, which):
    curves = picture.curves[which]
    with mpmath.workdps(50):
        for index in (0, 3, 40, 111, 200, 333, 480):
            truth = _delta(curves, picture.epsilon[index])
            assert truth <= mpmath.mpf(curves.delta[index]) <= truth * (1 + mpmath.mpf("1e-10")), index
        for index in (1, 2, 50, 137, 200, 399):
            truth = _beta(curves, picture.alpha[index])
            assert truth * (1 - mpmath.mpf("1e-11")) <= mpmath.mpf(curves.beta[index]) <= truth, index
    assert (curves.beta[0], curves.beta[-1]) == (1, 0)


def test_limit_and_band_are_the_gaussian_formulas(picture):
    curves = picture.curves[2]
    mu, gamma = curves.limit.mu, curves.limit.gamma
    lower, upper = curves.band
    with mpmath.workdps(50):
        for index in (1, 20, 200, 380):
            alpha = picture.alpha[index]
            assert curves.limit_beta[index] == pytest.approx(float(_gaussian_beta(alpha, mu)), rel=1e-12)
            low = max(0, _gaussian_beta(alpha + gamma, mu) - gamma) if alpha + gamma < 1 else 0
            assert lower[index] == pytest.approx(float(low), abs=1e-14)
            high = min(1 - alpha, _gaussian_beta(alpha - gamma, mu) + gamma if alpha > gamma else 1)
            assert upper[index] == pytest.approx(float(high), abs=1e-14)
        for index in (0, 10, 60):
            a, b = mpmath.mpf(mu) / 2, mpmath.mpf(float(picture.epsilon[index])) / mu
            truth = mpmath.ncdf(a - b) - mpmath.exp(b * mu) * mpmath.ncdf(-a - b)
            assert curves.limit_delta[index] == pytest.approx(float(truth), rel=1e-9)


def test_the_exact_curves_lie_within_what_the_theorem_leaves(picture):
    for curves in picture.curves:
        if curves.band is not None:
            lower, upper = curves.band
            assert (lower <= curves.beta + 1e-11).all()
            assert (curves.beta <= upper + 1e-11).all()
            assert (curves.delta <= curves.theorem_delta + 1e-11).all()
    assert picture.curves[2].band is not None


def test_corners_are_the_polygon_and_dense_points_lie_on_it():
    few, many = (Picture.of([Release.parse(f"bits=8,dim={dim},clip=1,mu=3")]).curves[0] for dim in (39, 40))
    assert (few.trials, many.trials) == (9945, 10200)
    assert len(few.corners[0]) == 9945 + 2
    alpha, beta = many.corners
    assert (alpha[0], beta[0], alpha[-1], beta[-1]) == (1, 0, 0, 1)
    assert (np.diff(alpha) <= 0).all()
    x, y = Accountant(many.release.spec).trade_off().vertices()
    assert beta == pytest.approx(np.interp(alpha, x[::-1], y[::-1]), abs=1e-9)


def test_epsilon_goes_to_where_the_last_exact_curve_falls_below_the_bottom(picture):
    assert picture.epsilon[0] == 0
    for curves in picture.curves:
        assert curves.delta[-1] < 1e-12
        assert curves.limit.epsilon_ignoring_gamma(1e-5) < picture.epsilon[-1]
    alone = Picture.of([picture.curves[1].release])
    assert (alone.curves[0].delta[:-30] > 1e-12).all()
    assert Picture.of([picture.curves[1].release], 1e-40).bottom == pytest.approx(1e-42)


def test_a_square_root_scale_where_the_curves_end_far_from_each_other():
    releases = [Release.parse(f"bits=4,dim=18,clip=1,mu={mu}") for mu in (1, 2, 40)]
    assert not Picture.of(releases[:2]).square_root
    far = Picture.of(releases)
    assert far.square_root
    assert np.sqrt(far.epsilon) == pytest.approx(np.linspace(0, np.sqrt(far.epsilon[-1]), len(far.epsilon)))
    assert "ε (nats), square-root scale" in svg(far)


def test_nothing_is_drawn_where_the_theorem_certifies_nothing(picture, drawn):
    ids = {element.get("id") for element in drawn.iter()}
    text = "".join(drawn.itertext())
    for place, curves in enumerate(picture.curves):
        assert {f"curves-{key}-{place}" for key in ("exact-beta", "limit-beta", "exact-delta", "limit-delta")} <= ids
        vacuous = GaussianLimit.of(curves.release.spec, curves.release.tokens).smallest_certified_delta >= 1
        assert (f"curves-band-{place}" in ids) == (f"curves-theorem-delta-{place}" in ids) == (not vacuous)
    assert [c.band is None for c in picture.curves] == [True, False, False]
    assert "1 bit, d = 1, μ = 1: ε ≤ 0.9625 (one token); Theorem 4.2 certifies nothing" in text
    assert re.search(r"many trials: ε ≤ 0\.\d+ \(one token\); Theorem 4.2: no ε for δ < 0\.0086", text)
    alone = svg(Picture.of([picture.curves[0].release]))
    assert "its band of β" in text
    assert "its band of β" not in alone


def test_a_theorem_that_certifies_is_quoted():
    text = svg(Picture.of([Release.parse(CERTIFIED)], 0.01))
    certified = GaussianLimit.of(Release.parse(CERTIFIED).spec).epsilon_certified(0.01)
    shown = float(re.search(r"Theorem 4.2: ε ≤ (\d\.\d+)", text)[1])
    assert certified <= shown < certified * 1.001


def test_text_is_text_and_states_units_kind_and_versions(drawn):
    words = [text for element in drawn.iter(f"{SVG}text") for text in element.itertext()]
    for wanted in (
        "ε (nats), square-root scale",
        "δ (probability)",
        "exact",
        "Gaussian limit, γ ignored (asymptotic, no bound)",
        "10⁻⁴",
    ):
        assert wanted in words
    assert any("ε ≤" in text and "(one token)" in text for text in words)
    assert any("ε ≤" in text and "(phrase, 3 tokens)" in text for text in words)
    line = next(text for text in words if text.startswith("Units: token, phrase."))
    assert re.search(r"float with error bound\. del-audit \S+, numpy \d\S+, scipy \d", line)


@pytest.mark.parametrize("texts", [(ONE_TRIAL, PHRASE, CERTIFIED), ("bits=4,dim=18,clip=1,mu=2", PHRASE)])
def test_marks_stand_where_the_page_looks_for_them(texts):
    picture = Picture.of([Release.parse(text) for text in texts])
    assert picture.square_root == (len(texts) == 3)
    text, (_, (x, y, width, height)) = inline_svg(picture)
    groups = {element.get("id"): element for element in ElementTree.fromstring(text).iter(f"{SVG}g")}
    low, high = np.log10(picture.bottom), np.log10(2)
    for place, curves in enumerate(picture.curves):
        mark = next(groups[f"curves-mark-{place}"].iter(f"{SVG}use"))
        share = (curves.epsilon.upper / picture.epsilon[-1]) ** (0.5 if picture.square_root else 1)
        assert float(mark.get("x")) == pytest.approx(x + width * share, abs=1e-3)
        share = (np.log10(picture.delta) - low) / (high - low)
        assert float(mark.get("y")) == pytest.approx(y + height * (1 - share), abs=1e-3)


def test_what_the_page_reads_is_rounded_to_the_safe_side(picture, read):
    trade_off, privacy = read
    assert [float(text) for text in trade_off["grid"]] == pytest.approx(picture.alpha, abs=1e-12)
    assert (np.array([float(text) for text in privacy["grid"]]) >= picture.epsilon).all()
    for place, curves in enumerate(picture.curves):
        beta = np.array([float(text) for text in trade_off["columns"][place][0]])
        assert (beta <= curves.beta).all()
        assert beta == pytest.approx(curves.beta, rel=1e-3)
        delta = [text.removeprefix("< ") for text in privacy["columns"][place][0]]
        assert (np.array([float(text) for text in delta]) >= curves.delta).all()
        assert all((text == "0") == (value == 0) for text, value in zip(delta, curves.delta, strict=True))
    assert set(trade_off["columns"][0][2] + privacy["columns"][0][2]) == {NOTHING}
    low, high = trade_off["columns"][2][2][200].split(" to ")
    assert float(low) < picture.curves[2].beta[200] < float(high)


def test_a_delta_that_no_float_holds_is_not_called_zero():
    far = Picture.of([Release.parse(f"bits=8,dim=4096,clip=1,mu={mu}") for mu in (10, 80)])
    curves = far.curves[0]
    assert -np.inf < Accountant(curves.release.spec).trade_off().log_delta(far.epsilon[-1]) < -2000
    assert 0 < curves.delta[-1] < 1e-300
    assert '"< 1e-300"' in page(far).replace("\\u003c", "<")


def test_the_page_needs_no_network_and_escapes_names():
    text = page(Picture.of([Release.parse(f"{ONE_TRIAL},name=<b>&</script>'$x_1$")]))
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r'(src|href)="(?!#)', text)
    assert text.count("</script>") == 2
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;&lt;/script&gt;&#39;$x_1$" in text


def test_a_png_has_every_release_in_its_colour(picture, tmp_path):
    (tmp_path / "x.png").write_bytes(rendered(picture, ".png"))
    pixels = np.round(matplotlib.image.imread(tmp_path / "x.png")[..., :3] * 255).astype(int)
    assert pixels.shape[1] == 1650
    for place, colour in enumerate(COLOURS):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert ((pixels == wanted).all(axis=-1).sum() > 100) == (place < len(picture.curves))


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png"])
def test_one_line_says_what_was_written_and_every_epsilon(suffix, tmp_path, capsys):
    out = tmp_path / f"curve{suffix}"
    out.write_text("old")
    assert main(["curve", "--spec", ONE_TRIAL, "--spec", PHRASE, "--delta", "1e-6", "--out", str(out)]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.startswith(f"Written: {out} (exact epsilon in nats at delta 1e-6: ")
    shown = [float(text) for text in re.findall(r"<= ([\d.]+)", line)]
    releases = [Release.parse(text) for text in (ONE_TRIAL, PHRASE)]
    assert "(one token) <= " in line
    assert "(phrase, 3 tokens) <= " in line
    exact = [guarantee(r.spec, r.unit, r.tokens, 1e-6).epsilon.upper for r in releases]
    assert all(truth <= value < truth * 1.001 for truth, value in zip(exact, shown, strict=True))
    assert out.read_bytes() == rendered(Picture.of(releases, 1e-6), suffix)
    assert list(tmp_path.iterdir()) == [out]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, capsys, monkeypatch):
    out = tmp_path / "curve.svg"
    out.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    assert main(["curve", "--spec", ONE_TRIAL, "--out", str(out)]) == 2
    assert f"got {str(out)!r}: No space left on device." in capsys.readouterr().err
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "Expected --spec to be KEY=VALUE,KEY=VALUE,..., got '' in ''."),
        ("bits=4,dim", "got 'dim' in 'bits=4,dim'."),
        ("bits=4,dim=", "got 'dim=' in"),
        ("bits=4,=18", "got '=18' in"),
        (
            "bits=4,dims=18",
            "Expected keys of --spec to be among bits, dim, clip, mu, scale, unit, tokens, name, got 'dims'",
        ),
        ("bits=4,bits=5", "Expected every key of --spec once, got bits twice in"),
        ("bits=x", "Expected bits to be a whole number, got bits='x' in"),
        ("bits=4,dim=18,clip=x", "Expected clip to be a number, got clip='x' in"),
        ("bits=4,mu=1", "Expected --spec with bits, dim and clip, got no dim and no clip in"),
        ("bits=4,dim=18,clip=1", "Expected --spec with exactly one of mu and scale, got neither in"),
        ("bits=4,dim=18,clip=1,mu=1,scale=2", "Expected --spec with exactly one of mu and scale, got both in"),
        ("bits=9,dim=18,clip=1,mu=1", "Expected bits in 1..8, got bits=9."),
        ("bits=4,dim=18,clip=1,mu=inf", "Expected mu to be a finite number > 0, got mu=inf."),
        ("bits=4,dim=18,clip=1,scale=1", "Expected scale > clip=1.0, got scale=1.0"),
        ("bits=4,dim=18,clip=1,mu=1,unit=word", "Expected unit to be one of token, phrase, prompt, session, got"),
        (
            "bits=4,dim=18,clip=1,mu=1,unit=prompt",
            "Expected --spec with tokens, a whole number >= 1, for unit=prompt, got none in "
            "'bits=4,dim=18,clip=1,mu=1,unit=prompt': add tokens=16 for a prompt of 16 tokens.",
        ),
        ("bits=4,dim=18,clip=1,mu=1,unit=session", "Expected --spec with tokens"),
        ("bits=4,dim=18,clip=1,mu=1,tokens=2", "Expected tokens=1 for unit=token, got tokens=2"),
        ("bits=4,dim=18,clip=1,mu=1,unit=session,tokens=99999999", "Expected at most 10000000000 trials"),
    ],
)
def test_a_spec_that_cannot_be_used(spec, message, tmp_path, capsys):
    assert main(["curve", "--spec", spec, "--out", str(tmp_path / "x.svg")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("del-audit: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.svg"], "--spec"),
        (["--spec", ONE_TRIAL], "--out"),
        (["--spec", ONE_TRIAL, "--out", "x.pdf"], "Expected --out to end in .html, .svg or .png, got 'x.pdf'."),
        (["--spec", ONE_TRIAL, "--out", "x"], "Expected --out to end in .html, .svg or .png, got 'x'."),
        (["--spec", ONE_TRIAL, "--out", "no/x.svg"], "got 'no/x.svg': No such file or directory."),
        (["--spec", ONE_TRIAL, "--out", "file/x.svg"], "got 'file/x.svg': Not a directory."),
        (["--spec", ONE_TRIAL, "--out", "folder.svg"], "got 'folder.svg': Is a directory."),
        (
            ["--spec", ONE_TRIAL, "--spec", ONE_TRIAL, "--out", "x.svg"],
            "'1 bit, d = 1, μ = 1' twice: give one a name=.",
        ),
        (["--spec", ONE_TRIAL, "--delta", "0", "--out", "x.svg"], "Expected delta in [1e-300, 1), got delta=0.0."),
        (["--spec", ONE_TRIAL, "--delta", "1", "--out", "x.svg"], "Expected delta in [1e-300, 1), got delta=1.0."),
        (
            ["--spec", ONE_TRIAL, "--delta", "x", "--out", "x.svg"],
            "Expected delta to be a finite number, got delta='x'.",
        ),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.svg").mkdir()
    assert main(["curve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.svg"]


def test_more_releases_than_colours():
    releases = [Release.parse(f"bits=1,dim={dim},clip=1,mu=1") for dim in range(1, 8)]
    assert len(Picture.of(releases[:6]).curves) == len(COLOURS)
    for wrong in (releases, []):
        with pytest.raises(UserError, match=f"Expected 1 to 6 --spec, got {len(wrong)}"):
            Picture.of(wrong)


@pytest.mark.parametrize("suffix", [".html", ".svg"])
@pytest.mark.parametrize(
    ("spec", "delta"),
    [
        ("bits=1,dim=1,clip=1,mu=1e-7", 0.9),
        ("bits=4,dim=18,clip=1,mu=2", 1e-300),
        ("bits=8,dim=4096,clip=1,mu=900", 0.999),
    ],
)
def test_extremes_are_drawn(spec, delta, suffix):
    assert b"Privacy curve" in rendered(Picture.of([Release.parse(spec)], delta), suffix)


def test_drawing_loads_no_model_library():
    heavy = ("torch", "transformers", "sklearn")
    code = f"import sys, del_audit.curve.draw; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
