// Names of units: https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html

/** Of a unit, with its suffix. */
const MAX_BYTES = 255;

/** Bytes that a unit cannot have in its name as `\xNN`, as systemd-escape(1) writes them; `-` stays. */
export function escapeUnit(text: string): string {
  const letters = Array.from(Buffer.from(text), (byte) => String.fromCharCode(byte));
  return letters
    .map((letter) =>
      /[A-Za-z0-9:_.-]/.test(letter) ? letter : `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`,
    )
    .join('');
}

/** `runtime-vm-<name>.scope`; a name that is too long is cut. */
export function scopeName(vm: string): string {
  const [prefix, suffix] = ['runtime-vm-', '.scope'];
  return `${prefix}${escapeUnit(vm).slice(0, MAX_BYTES - prefix.length - suffix.length)}${suffix}`;
}
