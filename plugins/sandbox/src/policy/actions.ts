// What a filter answers to a system call: include/uapi/linux/seccomp.h, SECCOMP_RET_*.

/** `errno` refuses the call with an error, 0 to 65,535; the kernel cuts what is over 4,095. */
export type Action =
  | { readonly kind: Exclude<ActionKind, 'errno'> }
  | { readonly kind: 'errno'; readonly errno: number };

export type ActionKind = 'allow' | 'log' | 'trace' | 'user-notify' | 'errno' | 'trap' | 'kill-thread' | 'kill-process';

const VALUES: Readonly<Record<ActionKind, number>> = {
  'kill-process': 0x8000_0000,
  'kill-thread': 0x0000_0000,
  trap: 0x0003_0000,
  errno: 0x0005_0000,
  'user-notify': 0x7fc0_0000,
  trace: 0x7ff0_0000,
  log: 0x7ffc_0000,
  allow: 0x7fff_0000,
};

const KINDS: ReadonlyMap<number, ActionKind> = new Map(
  Object.entries(VALUES).map(([kind, value]) => [value, kind as ActionKind]),
);

export const ACTION_KINDS: readonly ActionKind[] = Object.keys(VALUES) as readonly ActionKind[];

/** The number that the filter returns. */
export function returnValue(action: Action): number {
  return VALUES[action.kind] + (action.kind === 'errno' ? action.errno & 0xffff : 0);
}

/** `undefined`: newer than this, or none; the kernel then kills the process. */
export function actionOf(value: number): Action | undefined {
  const kind = KINDS.get((value & 0xffff_0000) >>> 0);
  if (kind === undefined) return undefined;
  return kind === 'errno' ? { kind, errno: value & 0xffff } : { kind };
}

export function sameAction(a: Action, b: Action): boolean {
  return returnValue(a) === returnValue(b);
}
