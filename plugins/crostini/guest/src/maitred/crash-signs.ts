// What the kernel logs of programs that crash. Aborts are not among it; who is started again when it ends tells of those.

export interface CrashSign {
  readonly process: string;
  readonly pid: string;
  readonly reason: string;
}

/** Of one line, without its time: arch/x86/mm/fault.c, arch/x86/kernel/traps.c and mm/oom_kill.c. */
const SIGNS: readonly { readonly pattern: RegExp; readonly reason: (found: string) => string }[] = [
  {
    pattern: /^(?<process>.{1,15})\[(?<pid>\d{1,10})\]: (?<what>segfault) at /,
    reason: () => 'segmentation fault',
  },
  {
    pattern: /^traps: (?<process>.{1,15})\[(?<pid>\d{1,10})\] (?<what>.{1,60}?) ip:/,
    reason: (found) => found.replace(/^trap /, ''),
  },
  {
    pattern: /^(?:Memory cgroup out|Out) of memory: (?<what>Killed) process (?<pid>\d{1,10}) \((?<process>.{1,15})\)/,
    reason: () => 'killed, since there was no memory left',
  },
];

export function crashIn(text: string): CrashSign | undefined {
  for (const { pattern, reason } of SIGNS) {
    const { process, pid, what } = pattern.exec(text)?.groups ?? {};
    if (process === undefined || pid === undefined || what === undefined) continue;
    return { process, pid, reason: reason(what) };
  }
  return undefined;
}
