/* predecode.c: from bytecode to the interpreter's form. The bytes have been decoded by Python without an error; what is
 * tested here again is what the interpreter relies on: registers, jump targets, references. */
#include "ops.h"
#include "program.h"

/* The host's byte order decides which conversions swap. */
static int host_is_little(void) {
    const uint16_t one = 1;
    return *(const uint8_t *)&one;
}

static int32_t signed32(const uint8_t *bytes) {
    return (int32_t)((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
}

static int arithmetic(ab_instruction *to, uint8_t opcode, int32_t imm) {
    static const int operations[16] = {
        AB_OP_ADD64_IMM, AB_OP_SUB64_IMM, AB_OP_MUL64_IMM, AB_OP_DIV64_IMM, AB_OP_OR64_IMM, AB_OP_AND64_IMM,
        AB_OP_LSH64_IMM, AB_OP_RSH64_IMM, -1, AB_OP_MOD64_IMM, AB_OP_XOR64_IMM, -1, AB_OP_ARSH64_IMM, -1, -1, -1,
    };
    int is64 = (opcode & 7) == 7, reg = opcode >> 3 & 1, code = opcode >> 4, op;
    switch (code) {
    case 8:
        op = is64 ? AB_OP_NEG64 : AB_OP_NEG32;
        break;
    case 11:
        if (!reg) op = is64 ? AB_OP_MOV64_IMM : AB_OP_MOV32_IMM;
        else if (to->offset == 0) op = is64 ? AB_OP_MOV64_REG : AB_OP_MOV32_REG;
        else if (to->offset == 8) op = is64 ? AB_OP_MOV64_S8 : AB_OP_MOV32_S8;
        else if (to->offset == 16) op = is64 ? AB_OP_MOV64_S16 : AB_OP_MOV32_S16;
        else if (to->offset == 32 && is64) op = AB_OP_MOV64_S32;
        else return -AB_EINVAL;
        break;
    case 13: {
        int swaps = is64 || reg == host_is_little();  /* bit 3: convert to big endian */
        if (imm == 16) op = swaps ? AB_OP_SWAP16 : AB_OP_KEEP16;
        else if (imm == 32) op = swaps ? AB_OP_SWAP32 : AB_OP_KEEP32;
        else if (imm == 64) op = swaps ? AB_OP_SWAP64 : AB_OP_KEEP64;
        else return -AB_EINVAL;
        break;
    }
    default:
        op = operations[code];
        if (op < 0) return -AB_EINVAL;
        if (to->offset == 1 && code == 3) op = AB_OP_SDIV64_IMM;
        if (to->offset == 1 && code == 9) op = AB_OP_SMOD64_IMM;
        op += (is64 ? 0 : 2) + reg;
    }
    to->op = (uint16_t)op;
    return 0;
}

static int jump(const ab_program *program, ab_instruction *to, uint32_t slot, uint8_t opcode, int32_t imm) {
    static const int conditions[16] = {
        -1, AB_OP_JEQ64_IMM, AB_OP_JGT64_IMM, AB_OP_JGE64_IMM, AB_OP_JSET64_IMM, AB_OP_JNE64_IMM, AB_OP_JSGT64_IMM,
        AB_OP_JSGE64_IMM, -1, -1, AB_OP_JLT64_IMM, AB_OP_JLE64_IMM, AB_OP_JSLT64_IMM, AB_OP_JSLE64_IMM, -1, -1,
    };
    int is64 = (opcode & 7) == 5, reg = opcode >> 3 & 1, code = opcode >> 4;
    int64_t distance = to->offset;
    if (opcode == 0x05) to->op = AB_OP_JA;
    else if (opcode == 0x06) to->op = AB_OP_JA, distance = imm;
    else if (opcode == 0xe5) to->op = AB_OP_MAY_GOTO;
    else if (conditions[code] >= 0) to->op = (uint16_t)(conditions[code] + (is64 ? 0 : 2) + reg);
    else return -AB_EINVAL;
    int64_t target = (int64_t)slot + 1 + distance;
    if (target < 0 || target >= (int64_t)program->slots) return -AB_EINVAL;
    to->offset = (int32_t)(distance + 1);
    return 0;
}

static int call(const ab_program *program, ab_instruction *to, uint32_t slot, uint8_t opcode, int32_t imm) {
    if (opcode == 0x8d) {
        to->op = AB_OP_CALL_NUMBER;
        return 0;
    }
    if (to->src == 1) {
        int64_t target = (int64_t)slot + 1 + imm;
        if (target < 0 || target >= (int64_t)program->slots) return -AB_EINVAL;
        to->op = AB_OP_CALL_LOCAL;
        to->offset = imm + 1;
        return 0;
    }
    if (to->src != 0) return -AB_EINVAL;
    const ab_helper *helper = ab_program_helper(program, (uint32_t)imm);
    if (helper == NULL) return -AB_ENOENT;
    to->op = helper->returns == AB_RETURNS_TAIL_CALL ? AB_OP_TAIL_CALL : AB_OP_CALL_HELPER;
    to->imm = helper - program->helpers;
    return 0;
}

static int wide(ab_program *program, ab_instruction *to, uint32_t slot, const uint8_t *bytes) {
    if (slot + 1 >= program->slots) return -AB_EINVAL;
    int32_t imm = signed32(bytes + 4), next = signed32(bytes + 12);
    uint32_t kind = to->src, index = (uint32_t)imm;
    to->op = AB_OP_LDDW;
    to->src = 0;
    switch (kind) {
    case 0:
        to->imm = (int64_t)((uint64_t)(uint32_t)next << 32 | (uint32_t)imm);
        return 0;
    case 4: {  /* a function: what slot->call takes */
        int64_t target = (int64_t)slot + 1 + imm;
        if (target < 0 || target >= (int64_t)program->slots) return -AB_EINVAL;
        to->imm = target;
        return 0;
    }
    case 5:
    case 6:
        if (index >= program->map_count) return -AB_EINVAL;
        to->imm = (int64_t)(uintptr_t)program->maps[index];
        if (kind == 5) return 0;
        if (program->maps[index]->values == NULL) return -AB_EINVAL;
        to->imm = (int64_t)((uint64_t)(uintptr_t)program->maps[index]->values + (uint64_t)(int64_t)next);
        if (index < 64) program->direct_maps |= 1ull << index;
        return 0;
    default:
        return -AB_EINVAL;
    }
}

static int memory(ab_instruction *to, uint8_t opcode, int32_t imm) {
    static const uint8_t order[4] = {2, 1, 0, 3};  /* size field W, H, B, DW -> 8, 16, 32, 64 bits */
    static const int loads[4] = {AB_OP_LOAD8, AB_OP_LOAD16, AB_OP_LOAD32, AB_OP_LOAD64};
    int size = order[opcode >> 3 & 3], mode = opcode >> 5, class = opcode & 7;
    int load = loads[size];  /* followed in the table by STORE_REG, STORE_IMM, LOAD_ACQUIRE, STORE_RELEASE */
    if (class == 0) {
        if ((mode != 1 && mode != 2) || size == 3) return -AB_EINVAL;
        to->op = mode == 1 ? AB_OP_PACKET_ABS : AB_OP_PACKET_IND;
        to->dst = (uint8_t)(1 << size);
    } else if (mode == 3) {
        to->op = (uint16_t)(class == 1 ? load : class == 3 ? load + 1 : load + 2);
    } else if (mode == 4 && class == 1 && size != 3) {
        to->op = (uint16_t)(AB_OP_LOAD_S8 + size);
    } else if (mode == 6 && class == 3) {
        if (imm == 0x100) to->op = (uint16_t)(load + 3);
        else if (imm == 0x110) to->op = (uint16_t)(load + 4);
        else if (size < 2) return -AB_EINVAL;
        else if (imm == 0xe1) to->op = (uint16_t)(AB_OP_XCHG32 + (size - 2));
        else if (imm == 0xf1) to->op = (uint16_t)(AB_OP_CMPXCHG32 + (size - 2));
        else {
            int base = (imm & ~1) == 0x00 ? AB_OP_ATOMIC_ADD32 : (imm & ~1) == 0x40 ? AB_OP_ATOMIC_OR32
                     : (imm & ~1) == 0x50 ? AB_OP_ATOMIC_AND32 : (imm & ~1) == 0xa0 ? AB_OP_ATOMIC_XOR32 : -1;
            if (base < 0) return -AB_EINVAL;
            to->op = (uint16_t)(base + (size - 2) * 2 + (imm & 1));
        }
    } else {
        return -AB_EINVAL;
    }
    return 0;
}

int ab_program_predecode(ab_program *program, const uint8_t *code, uint32_t *slot) {
    for (uint32_t i = 0; i < program->slots; i++) {
        const uint8_t *bytes = code + 8 * (size_t)i;
        uint8_t opcode = bytes[0];
        int32_t imm = signed32(bytes + 4);
        ab_instruction *to = &program->text[i];
        to->dst = bytes[1] & 15;
        to->src = bytes[1] >> 4;
        to->offset = (int16_t)((uint32_t)bytes[2] | (uint32_t)bytes[3] << 8);
        to->imm = imm;
        *slot = i;
        if (to->dst > 10 || to->src > 10) return -AB_EINVAL;
        int error, class = opcode & 7;
        if (opcode == 0x18) error = wide(program, to, i, bytes);
        else if (opcode == 0x95) to->op = AB_OP_EXIT, error = 0;
        else if (opcode == 0x85 || opcode == 0x8d) error = call(program, to, i, opcode, imm);
        else if (class == 4 || class == 7) error = arithmetic(to, opcode, imm);
        else if (class == 5 || class == 6) error = jump(program, to, i, opcode, imm);
        else error = memory(to, opcode, imm);
        if (error) return error;
        if (to->op == AB_OP_LDDW) program->text[++i].op = AB_OP_END;
    }
    program->text[program->slots].op = AB_OP_END;
    return 0;
}
