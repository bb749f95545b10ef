"""Which charset names may decode a text: codecs that make text of bytes, in linear time, from any server's word."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})["']?\s*(?:;|$)""", re.IGNORECASE)

# Python also knows codecs that are none: `idna` and `punycode` raise or crawl, `zlib` inflates, `unicode_escape` warns.
_TEXT = re.compile(
    r"ascii|utf-8(-sig)?|utf-16(-[bl]e)?|utf-32(-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|kz1048|ptcp154|tis-620|hp-roman8"
    r"|big5(hkscs)?|gb2312|gbk|gb18030|hz|euc_(jp|kr|jis_2004|jisx0213)|shift_jis(_2004|x0213)?|iso2022_\w+|johab"
)


@lru_cache(maxsize=512)
def is_usable(name: str) -> bool:
    """Whether text can be decoded with this charset without ever raising, given `errors="replace"`."""
    try:
        return _TEXT.fullmatch(codecs.lookup(name).name) is not None
    except (LookupError, ValueError):
        return False


def usable_content_type(content_type: str) -> str:
    """The same Content-Type, or without its parameters where their charset cannot be used: UTF-8 is read then."""
    if "charset" not in content_type.lower():
        return content_type
    found = _CHARSET.search(content_type[:1000])
    if found is not None and is_usable(found.group(1)):
        return content_type
    return content_type.partition(";")[0].strip()
