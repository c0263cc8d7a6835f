"""The table of a guarantee, word for word, and its rounding."""

from dataclasses import replace

import pytest

from del_audit.accounting import Bound, guarantee
from del_audit.accounting.guarantee_text import render
from mechanisms.spec import QuantizerSpec

CERTIFIED = """\
Quantizer  bits=4 dim=4096 clip=0.05 scale=495.7418708, 16384 bits a token
Unit       token, tokens=1, 61,440 trials
Between    two prompts of equal length that differ in one token, each token sent once

figure                        exact                   Theorem 4.2     mu-GDP, gamma ignored
----------------------------  ----------------------  --------------  ---------------------
epsilon at delta=0.01 (nats)  0.025040997             0.043700308     0.025041111
total variation               0.019944963             0.024463518     0.019945037
pure epsilon (nats)           12.393551               certifies none  infinite
kind                          float with error bound  upper bound     asymptotic, no bound

Theorem 4.2: mu=0.05, gamma=0.002259; it certifies an epsilon for delta >= 0.004899 only.
Meaning: whoever reads the release tells the two apart with an advantage of at most 0.019944963;
what is concluded from one with probability q is concluded from the other with at most
e^0.025040997 q + 0.01.
One token only: a phrase, prompt or session is that many times more trials (--unit, --tokens)."""

NOT_CERTIFIED = """\
Quantizer  bits=4 dim=18 clip=0.05 scale=0.2113941816, 72 bits a token
Unit       prompt, tokens=64, 17,280 trials
Between    any two prompts of 64 tokens, sent once

figure                         exact      Theorem 4.2     mu-GDP, gamma ignored
-----------------------------  ---------  --------------  ---------------------
epsilon at delta=1e-05 (nats)  2231.7564  certifies none  2319.9850
total variation                1          1               1
pure epsilon (nats)            8332.0676  certifies none  infinite
kind                           proved     upper bound     asymptotic, no bound

Theorem 4.2: mu=64, gamma=0.00463; it certifies nothing here, whatever delta.
Meaning: whoever reads the release tells the two apart with an advantage of at most 1;
what is concluded from one with probability q is concluded from the other with at most
e^2231.7564 q + 1e-05.
An epsilon above 10 rules little out by itself: read it with the attacks."""

TOKEN = QuantizerSpec.from_mu(4, 18, 0.05, 2)


def test_the_table_word_for_word():
    assert render(guarantee(QuantizerSpec.from_mu(4, 4096, 0.05, 0.05), delta=0.01)) == CERTIFIED
    assert render(guarantee(QuantizerSpec.from_mu(4, 18, 0.05, 8), "prompt", 64, proved=True)) == NOT_CERTIFIED


@pytest.mark.parametrize("value", [0.1234567801, 12.345678000000001, 99999999.01, 3.0, 1e-17 / 3])
def test_figures_are_rounded_up_to_eight_digits(value):
    text = render(replace(guarantee(TOKEN), epsilon=Bound(0.0, value, value)))
    shown = float(next(line for line in text.splitlines() if line.startswith("e^")).split()[0].removeprefix("e^"))
    assert value <= shown <= value * (1 + 1e-7)


def test_the_upper_end_is_quoted():
    text = render(replace(guarantee(TOKEN), epsilon=Bound(1.0, 2.0, 4.5), total_variation=Bound(0.1, 0.2, 0.375)))
    assert "epsilon at delta=1e-05 (nats)  4.5 " in text
    assert "e^4.5 q + 1e-05." in text
    assert "total variation                0.375 " in text
    assert "an advantage of at most 0.375;" in text


def test_a_large_epsilon_is_called_so_from_above_ten():
    warning = "An epsilon above 10 rules little out by itself: read it with the attacks."
    assert warning not in render(replace(guarantee(TOKEN), epsilon=Bound(10.0, 10.0, 10.0)))
    assert warning in render(replace(guarantee(TOKEN), epsilon=Bound(9.0, 9.5, 10.001)))
