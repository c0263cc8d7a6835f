"""The reader of pages itself: what it must find, and what it must not take for something else."""

from markdown_pages import anchors, commands, fenced, links

TEXT = """# A title, with `code` & [a link](x.md)

<!-- not run: it needs a model -->
```python
first = 1
```

- in a list

  ```pycon
  >>> 1
  1
  ```

    del-audit account --bits 4 \\
        --dim 18 > out.txt   # cut
    $ del-audit verify cert.json || exit 1

```text
del-audit not a command
```

```yaml
script:
  - del-audit key show
  - run: make test
```

[one](a.md#b), `[not](code.md)`, ![two](b.png), [three](https://example.org/c), [b] (no link)

## Twice
## Twice
"""


def test_blocks_know_their_language_their_indentation_and_whether_they_run():
    assert [(block.language, block.run) for block in fenced(TEXT)][:2] == [("python", False), ("pycon", True)]
    assert fenced(TEXT)[1].text == ">>> 1\n1\n"
    assert TEXT.splitlines()[fenced(TEXT)[1].line - 1] == "  >>> 1"


def test_commands_are_found_in_code_alone_and_end_where_the_shell_takes_over():
    assert [words for _, words in commands(TEXT)] == [
        ["del-audit", "account", "--bits", "4", "--dim", "18"],
        ["del-audit", "verify", "cert.json"],
        ["del-audit", "key", "show"],
        ["make", "test"],
    ]


def test_links_leave_out_the_web_and_code():
    assert links(TEXT) == ["x.md", "a.md#b", "b.png"]


def test_anchors_are_those_of_github():
    assert anchors(TEXT) == {"a-title-with-code--a-link", "twice", "twice-1"}
