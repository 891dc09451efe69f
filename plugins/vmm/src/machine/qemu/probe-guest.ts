// A guest of 240 bytes that tells whether a hypervisor truly runs guests: firmware that enters long mode as a kernel
// does, counts down, uses what hypervisors without hardware behind them stumble over, and reports.
//
// Start, 0xf000 in the ROM, 16 bits:
//   cli; lgdt gdtr; cr0 |= PE; jump to 08:start32
// start32:
//   ds = es = ss = 0x10; page tables at 0x1000, 0x2000, 0x3000 map the first 2 MiB to themselves
//   cr3 = 0x1000; cr4 = PAE | OSFXSR | OSXMMEXCPT; EFER.LME; cr0 = PG | PE; jump to 18:start64
// start64:
//   ecx = 50,000,000; loop: dec ecx; jnz loop          what is measured
//   movd xmm15, ecx; popcnt eax, ecx; push 0; pop rax; cpuid
//   out 0xf4, 0x2a                                     isa-debug-exit of QEMU: exit code 0x2a * 2 + 1
// gdt: null, 32-bit code, data, 64-bit code
// Reset vector, 0xfff0: jump to ff00:0000

const CODE =
  'fa2e660f0116d8000f20c06683c8010f22c066ea1af00f00080066b810008ed8' +
  '8ec08ed0c7050010000003200000c7050410000000000000c705002000000330' +
  '0000c7050420000000000000c7050030000083000000c7050430000000000000' +
  'b8001000000f22d8b8200600000f22e0b9800000c00f320d000100000f30b801' +
  '0000800f22c0ea8df00f001800b980f0fa02bc00100000ffc975fc66440f6ef9' +
  'f30fb8c16a00580fa2b82a000000e7f4f4ebfd8db40000900000000000000000' +
  'ffff0000009bcf00ffff00000093cf00ffff0000009baf001f00b8f00f000000';
const RESET_VECTOR = 'ea000000ff';
const ROM_BYTES = 65_536;

/** Instructions that it carries out, nearly all of them in its loop. */
export const PROBE_INSTRUCTIONS = 100_000_000;
/** What QEMU ends with when it got to its end. */
export const PROBE_EXIT = 0x2a * 2 + 1;

/** A ROM of 64 KiB, for `-bios`. */
export function probeRom(): Uint8Array {
  const rom = Buffer.alloc(ROM_BYTES);
  rom.write(CODE, 0xf000, 'hex');
  rom.write(RESET_VECTOR, 0xfff0, 'hex');
  return rom;
}

/** The command line that runs it, without the program. */
export function probeArguments(rom: string, accelerator: 'kvm' | 'tcg'): readonly string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-M', 'pc', '-m', '16'],
    ...['-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max', '-bios', rom],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
  ];
}
