"""Words that C keeps for itself: they cannot be names, and some of them are its numbers."""

from __future__ import annotations

# Of C17 and GNU C, and what clang knows for BPF besides; then the macros of a dump's head.
_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if"
    " inline int long register restrict return short signed sizeof static struct switch typedef"
    " union unsigned void volatile while asm typeof _Alignas _Alignof _Atomic _BitInt _Bool"
    " _Complex _Decimal128 _Decimal32 _Decimal64 _ExtInt _Float16 _Generic _Imaginary _Noreturn"
    " _Nonnull _Nullable _Null_unspecified _Static_assert _Thread_local __alignof __alignof__"
    " __asm __asm__ __attribute __attribute__ __auto_type __bf16 __builtin_offsetof"
    " __builtin_types_compatible_p __builtin_va_arg __complex __complex__ __const __const__"
    " __extension__ __float128 __fp16 __func__ __FUNCTION__ __PRETTY_FUNCTION__ __ibm128 __imag"
    " __imag__ __inline __inline__ __int128 __label__ __null __real __real__ __restrict"
    " __restrict__ __signed __signed__ __thread __typeof __typeof__ __volatile __volatile__"
    " __FILE__ __LINE__ __DATE__ __TIME__ __COUNTER__ __BPF__ __bpf__"
    " __VMLINUX_H__ __ksym __weak __bpf_fastcall"
)
KEYWORDS = frozenset(_KEYWORDS.split())


def is_word(name: str) -> bool:
    """Whether a name has what gcc and clang take in names: letters of any language, ``$``."""
    return name.replace("$", "_").isidentifier()


def is_identifier(name: str) -> bool:
    """Whether C takes a name as it is."""
    return is_word(name) and name not in KEYWORDS


def _spellings() -> dict[str, tuple[int, ...]]:
    """Sizes in bytes of C's numbers on BPF, by their words in alphabetical order."""
    sizes: dict[str, tuple[int, ...]] = {
        "_Bool": (1,),
        "char": (1,),
        "char signed": (1,),
        "double": (8,),
        "double long": (8,),
        "float": (4,),
        "signed": (4,),
        "char unsigned": (1,),
        "unsigned": (4,),
    }
    # A long has 4 bytes in the BTF of a 32-bit machine.
    for words, known in (
        ("__int128", (16,)),
        ("int", (4,)),
        ("long", (8, 4)),
        ("int long", (8, 4)),
        ("long long", (8,)),
        ("int long long", (8,)),
        ("short", (2,)),
        ("int short", (2,)),
    ):
        for sign in ("", " signed", " unsigned"):
            sizes[" ".join(sorted(f"{words}{sign}".split()))] = known
    return sizes


_SPELLINGS = _spellings()


def is_number(name: str, size: int) -> bool:
    """Whether a name is that of a number of C which has ``size`` bytes on BPF."""
    return size in (_SPELLINGS.get(name) or _SPELLINGS.get(" ".join(sorted(name.split())), ()))
