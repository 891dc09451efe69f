// What is read of ELF files: whether QEMU can boot a kernel directly, what libraries a program needs, what a module says
// about itself. elf(5); 64-bit little-endian, as on every machine the runtime runs on. A file may be anything: each
// offset and count is checked against its length, and one that is not sound gives `undefined`.

export interface ElfSection {
  readonly name: string;
  readonly bytes: Buffer;
}

interface Segment {
  readonly type: number;
  readonly address: number;
  readonly bytes: Buffer;
}

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const SECTION_BYTES = 64;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_NOTE = 4;
const SHT_NOBITS = 8;
const DT_NULL = 0;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
/** Most of the dynamic section that is read; real ones have some 30 entries. */
const DYNAMIC_MAX = 4096;
/** XEN_ELFNOTE_PHYS32_ENTRY, include/xen/interface/elfnote.h of the kernel. */
const PVH_ENTRY = 18;

export function isElf(bytes: Uint8Array): boolean {
  const magic = [0x7f, 0x45, 0x4c, 0x46, 2 /* 64-bit */, 1 /* little-endian */];
  return bytes.length >= HEADER_BYTES && magic.every((byte, i) => bytes[i] === byte);
}

/** A u64 that is a plain number of at most 2^53; anything above is past the end of every file. */
function u64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

function slice(bytes: Buffer, offset: number, length: number): Buffer | undefined {
  return offset + length <= bytes.length ? bytes.subarray(offset, offset + length) : undefined;
}

/** A string that ends with a zero within `bytes`. */
function text(bytes: Buffer, at: number): string | undefined {
  if (at >= bytes.length) return undefined;
  const end = bytes.indexOf(0, at);
  return end === -1 ? undefined : bytes.toString('latin1', at, end);
}

function segments(bytes: Buffer): Segment[] | undefined {
  if (!isElf(bytes)) return undefined;
  const count = bytes.readUInt16LE(56);
  const table = slice(bytes, u64(bytes, 32), count * SEGMENT_BYTES);
  if (table === undefined || (count > 0 && bytes.readUInt16LE(54) !== SEGMENT_BYTES)) return undefined;
  const out: Segment[] = [];
  for (let at = 0; at < table.length; at += SEGMENT_BYTES) {
    const inFile = slice(bytes, u64(table, at + 8), u64(table, at + 32));
    if (inFile === undefined) return undefined;
    out.push({ type: table.readUInt32LE(at), address: u64(table, at + 16), bytes: inFile });
  }
  return out;
}

/** The bytes of a section; `undefined` also when the file has none of this name. */
export function elfSection(bytes: Buffer, name: string): Buffer | undefined {
  if (!isElf(bytes)) return undefined;
  const count = bytes.readUInt16LE(60);
  const table = slice(bytes, u64(bytes, 40), count * SECTION_BYTES);
  if (table === undefined || bytes.readUInt16LE(58) !== SECTION_BYTES) return undefined;
  const contentOf = (index: number): Buffer | undefined => {
    const at = index * SECTION_BYTES;
    if (at + SECTION_BYTES > table.length || table.readUInt32LE(at + 4) === SHT_NOBITS) return undefined;
    return slice(bytes, u64(table, at + 24), u64(table, at + 32));
  };
  const names = contentOf(bytes.readUInt16LE(62));
  if (names === undefined) return undefined;
  for (let i = 0; i < count; i++) {
    if (text(names, table.readUInt32LE(i * SECTION_BYTES)) === name) return contentOf(i);
  }
  return undefined;
}

/** Whether a kernel can be entered as PVH, which is how QEMU and our own machine start one that is no bzImage. */
export function hasPvhEntry(kernel: Buffer): boolean {
  for (const { type, bytes } of segments(kernel) ?? []) {
    if (type !== PT_NOTE) continue;
    for (let at = 0; at + 12 <= bytes.length; ) {
      const nameBytes = bytes.readUInt32LE(at);
      const name = slice(bytes, at + 12, nameBytes);
      if (name === undefined) break;
      if (bytes.readUInt32LE(at + 8) === PVH_ENTRY && name.toString('latin1') === 'Xen\0') return true;
      at += 12 + Math.ceil(nameBytes / 4) * 4 + Math.ceil(bytes.readUInt32LE(at + 4) / 4) * 4;
    }
  }
  return false;
}

/** What a program or library is linked with. */
export interface ElfNeeds {
  /** The dynamic loader, as an absolute path; `undefined` for a library. */
  readonly interpreter: string | undefined;
  /** Names such as `libc.so.6`. */
  readonly libraries: readonly string[];
}

/** Of a static program: nothing. `undefined` for what is no sound ELF file. */
export function elfNeeds(program: Buffer): ElfNeeds | undefined {
  const all = segments(program);
  if (all === undefined) return undefined;
  const interp = all.find(({ type }) => type === PT_INTERP);
  const interpreter = interp === undefined ? undefined : text(interp.bytes, 0);
  const dynamic = all.find(({ type }) => type === PT_DYNAMIC)?.bytes;
  if (dynamic === undefined) return { interpreter, libraries: [] };
  const offsets: number[] = [];
  let strings: Buffer | undefined;
  for (let i = 0; i < DYNAMIC_MAX && (i + 1) * 16 <= dynamic.length; i++) {
    const tag = u64(dynamic, i * 16);
    const value = u64(dynamic, i * 16 + 8);
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) offsets.push(value);
    if (tag === DT_STRTAB) strings = at(all, value);
  }
  const libraries: string[] = [];
  for (const offset of offsets) {
    const name = strings === undefined ? undefined : text(strings, offset);
    if (name === undefined) return undefined;
    libraries.push(name);
  }
  return { interpreter, libraries };
}

/** What is loaded at an address, to the end of its segment. */
function at(all: readonly Segment[], address: number): Buffer | undefined {
  const one = all.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + s.bytes.length);
  return one?.bytes.subarray(address - one.address);
}
