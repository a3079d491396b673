"""Words that C keeps for itself, and so cannot be names."""

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


def is_identifier(name: str) -> bool:
    """Whether C takes a name as it is."""
    return name.isidentifier() and name.isascii() and name not in KEYWORDS
