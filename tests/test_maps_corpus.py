"""The maps of real objects can be made, and their types describe real bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from anybpf import btf, elf
from anybpf.errors import MapError, ObjectError
from anybpf.platforms import recognise
from anybpf.runtime import Context, Map
from anybpf.runtime.typed import codec_for

#: Maps that no system makes: a data map without a value, an array with 8-byte keys.
IMPOSSIBLE = {("badrelo.o", "map"), ("exposeptr2.o", "map")}
#: Kinds that are about a kernel's own objects, which the engine does not have.
KERNEL_KINDS = {"stack_trace", "cgroup_array"}

pytestmark = pytest.mark.corpus


def test_maps_of_real_objects_can_be_made(corpus: Path) -> None:
    """Every map of the corpus is made and listed, but for those that no system makes and kinds about the kernel."""
    made = 0
    with Context(cpus=2) as context:
        for path in sorted(corpus.rglob("*.o")):
            try:
                spec = elf.open(path)
            except ObjectError:
                continue
            platform, types = recognise(spec), btf.load(spec.btf) if spec.btf else None
            for declared in spec.maps:
                kind = platform.map_types[declared.type]
                inner = declared.inner and platform.map_types[declared.inner.type]
                if (path.name, declared.name) in IMPOSSIBLE or kind.value in KERNEL_KINDS:
                    with pytest.raises(MapError):
                        Map(context.engine, declared, kind, btf=types, inner_kind=inner)
                    continue
                with Map(context.engine, declared, kind, btf=types, inner_kind=inner) as opened:
                    made += 1
                    if kind.value in {"array", "hash", "lru_hash"}:
                        assert all(opened[key] == value for key, value in list(opened.items())[:10])
    assert made > 400


def test_types_of_real_objects_keep_every_byte(corpus: Path) -> None:
    """Keys and values decoded by their BTF encode to what they were, up to padding: again and again the same."""
    generator = random.Random(1)
    typed = 0
    for path in sorted(corpus.rglob("*.o")):
        try:
            spec = elf.open(path)
        except ObjectError:
            continue
        types = btf.load(spec.btf) if spec.btf else None
        for declared in spec.maps:
            for type_id, size in ((declared.key_type, declared.key_size), (declared.value_type, declared.value_size)):
                codec = codec_for(types, type_id, size)
                decoded = codec.decode(generator.randbytes(size))
                encoded = codec.encode(decoded)
                assert len(encoded) == size
                assert codec.encode(codec.decode(encoded)) == encoded
                typed += isinstance(decoded, dict)
    assert typed > 20
