// ELF files for tests: small, and sound unless a test spoils them.

export interface TestSection {
  readonly name: string;
  readonly bytes: Uint8Array;
}
export interface TestSegment {
  readonly type: number;
  readonly address: number;
  readonly bytes: Uint8Array;
}

const u64 = (n: number): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(n));
  return out;
};

export function makeElf(sections: readonly TestSection[], segments: readonly TestSegment[] = []): Buffer {
  const names = Buffer.from(['', ...sections.map(({ name }) => name), '.shstrtab', ''].join('\0'), 'latin1');
  const all = [{ name: '', bytes: new Uint8Array(0) }, ...sections, { name: '.shstrtab', bytes: names }];
  const header = Buffer.alloc(64);
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).copy(header);
  const body: Buffer[] = [];
  let at = 64 + segments.length * 56;
  const place = (bytes: Uint8Array): number => {
    const start = at;
    body.push(Buffer.from(bytes));
    at += bytes.length;
    return start;
  };
  const programHeaders = segments.map(({ type, address, bytes }) => {
    const out = Buffer.alloc(56);
    out.writeUInt32LE(type, 0);
    u64(place(bytes)).copy(out, 8);
    u64(address).copy(out, 16);
    u64(bytes.length).copy(out, 32);
    u64(bytes.length).copy(out, 40);
    return out;
  });
  const sectionHeaders = all.map(({ name, bytes }) => {
    const out = Buffer.alloc(64);
    out.writeUInt32LE(Math.max(0, names.indexOf(`${name}\0`, 0, 'latin1')), 0);
    out.writeUInt32LE(1, 4);
    u64(place(bytes)).copy(out, 24);
    u64(bytes.length).copy(out, 32);
    return out;
  });
  u64(64).copy(header, 32);
  u64(at).copy(header, 40);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(segments.length, 56);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(all.length, 60);
  header.writeUInt16LE(all.length - 1, 62);
  return Buffer.concat([header, ...programHeaders, ...body, ...sectionHeaders]);
}

/** A kernel module: no more than what it says about itself. */
export const makeModule = (...lines: string[]): Buffer =>
  makeElf([{ name: '.modinfo', bytes: Buffer.from(`${lines.join('\0')}\0`) }]);

/** Bytes of a file changed at random, and its end cut off at times; the same for the same seed. */
export function* spoiled(bytes: Buffer, rounds: number, seed = 1): Generator<Buffer> {
  let state = seed;
  const random = (below: number): number => {
    // Numerical Recipes' generator; enough to choose places.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let i = 0; i < rounds; i++) {
    const copy = Buffer.from(bytes);
    for (let n = random(4) + 1; n > 0; n--) {
      const at = random(random(3) === 0 ? copy.length : Math.min(copy.length, 0x300));
      copy[at] = random(2) === 0 ? 0xff : random(256);
    }
    yield random(8) === 0 ? copy.subarray(0, random(copy.length)) : copy;
  }
}
