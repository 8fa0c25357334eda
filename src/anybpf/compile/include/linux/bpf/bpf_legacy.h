/* bpf/bpf_legacy.h: loads from the packet that older socket filters and classifiers make, as the LD_ABS instructions. */
#ifndef ANYBPF_BPF_LEGACY_H
#define ANYBPF_BPF_LEGACY_H

unsigned long long load_byte(void *skb, unsigned long long offset) __asm__("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) __asm__("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long offset) __asm__("llvm.bpf.load.word");

#endif
