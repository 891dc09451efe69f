// Makes plugins/sandbox/tables/*.txt: the numbers of system calls and of the constants that policies name, on each
// architecture, from the headers of the kernel and of glibc.
//
//   python3 -m venv venv && venv/bin/pip install ziglang==0.17.1
//   node scripts/policy-tables.ts "venv/bin/python -m ziglang cc"
//
// Any C compiler that takes `-target` and brings the headers of the four will do. The tables are kept, since who installs
// this has neither; a new kernel is the only reason to make them again.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TARGETS = {
  x86_64: 'x86_64-linux-gnu',
  aarch64: 'aarch64-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
  arm: 'arm-linux-gnueabihf',
} as const;
type Architecture = keyof typeof TARGETS;
const ARCHITECTURES = Object.keys(TARGETS) as readonly Architecture[];

/** What the arguments of system calls are made of. Those that an architecture lacks are left out there. */
const HEADERS = [
  'asm/prctl.h asm/termbits.h asm/ioctls.h errno.h fcntl.h signal.h stddef.h poll.h sched.h',
  'sys/mman.h sys/resource.h sys/socket.h sys/stat.h sys/types.h sys/epoll.h sys/eventfd.h sys/inotify.h sys/timerfd.h',
  'sys/signalfd.h sys/wait.h sys/time.h sys/ptrace.h sys/xattr.h sys/mount.h netinet/in.h netinet/tcp.h',
  'linux/audit.h linux/bpf.h linux/capability.h linux/close_range.h linux/dma-buf.h linux/fd.h linux/fs.h linux/fscrypt.h',
  'linux/fuse.h linux/futex.h linux/hidraw.h linux/if_tun.h linux/io_uring.h linux/kcmp.h linux/keyctl.h linux/kvm.h',
  'linux/landlock.h linux/loop.h linux/memfd.h linux/mempolicy.h linux/membarrier.h linux/mman.h linux/net.h linux/netlink.h',
  'linux/nsfs.h linux/openat2.h linux/perf_event.h linux/personality.h linux/prctl.h linux/random.h linux/rseq.h',
  'linux/sched.h linux/seccomp.h linux/securebits.h linux/serial.h linux/sockios.h linux/termios.h linux/udmabuf.h',
  'linux/userfaultfd.h linux/vfio.h linux/vhost.h linux/vm_sockets.h linux/usbdevice_fs.h linux/uinput.h linux/vduse.h',
]
  .join(' ')
  .split(' ');

const folder = mkdtempSync(join(tmpdir(), 'policy-tables-'));
const compiler = (process.argv[2] ?? 'python3 -m ziglang cc').split(' ');

function compile(architecture: Architecture, source: string, ...options: string[]) {
  const [program = '', ...first] = compiler;
  const all = [...first, '-target', TARGETS[architecture], '-D_GNU_SOURCE', '-w', '-x', 'c', ...options, '-'];
  const { stdout, stderr, status } = spawnSync(program, all, { input: source, encoding: 'utf8', maxBuffer: 2 ** 28 });
  return { stdout, stderr, ok: status === 0 };
}

/** Some headers define the same twice and cannot be read together: each is read alone. */
function macrosOf(architecture: Architecture, header: string): readonly string[] {
  const { stdout, ok } = compile(architecture, `#include <${header}>\n`, '-E', '-dD');
  if (!ok) return [];
  return [...stdout.matchAll(/^#define ([A-Z][A-Z0-9_]*) +[\w(~-]/gm)].map(([, name = '']) => name);
}

/** The values of those expressions that are whole numbers, as the compiler of the architecture has them. */
function valuesOf(
  architecture: Architecture,
  head: string,
  expressions: ReadonlyMap<string, string>,
): Map<string, bigint> {
  const lines = [...expressions].map(([name, expression]) => {
    // Of an unsigned long, as a system call takes it.
    return `const unsigned long value_${name} = (unsigned long)(${expression});`;
  });
  for (let left = lines; ; ) {
    if (left.length === 0) return new Map();
    const source = `${head}\n${left.join('\n')}\n`;
    const assembly = join(folder, 'values.s');
    const quiet = ['-ferror-limit=0', '-fno-caret-diagnostics', '-fno-color-diagnostics'];
    const { stderr, ok } = compile(architecture, source, '-S', '-o', assembly, '-O0', ...quiet);
    if (ok) return readAssembly(readFileSync(assembly, 'utf8'));
    const offset = head.split('\n').length + 1;
    const wrong = new Set(
      Array.from(stderr.matchAll(/^\S*stdin\S*:(\d+):\d+: error/gm), ([, line]) => Number(line) - offset),
    );
    const next = left.filter((_, index) => !wrong.has(index));
    if (stderr.includes('file not found')) return new Map();
    if (next.length === left.length) throw new Error(stderr.slice(0, 2000));
    left = next;
  }
}

function readAssembly(text: string): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const [, name = '', value = ''] of text.matchAll(
    /^value_(\w+):\n\s+\.(?:quad|xword|dword|word|long)\s+(\S+)/gm,
  )) {
    if (/^-?(?:0x[0-9a-f]+|\d+)$/.test(value)) values.set(name, BigInt(value));
  }
  // A number that is 0 has a word for it.
  for (const [, name = ''] of text.matchAll(/^value_(\w+):\n\s+\.(?:zero|skip|space)/gm)) values.set(name, 0n);
  return values;
}

function constantsOf(architecture: Architecture): Map<string, bigint> {
  const all = new Map<string, bigint>();
  for (const header of HEADERS) {
    const names = macrosOf(architecture, header).filter((name) => !/^(?:SIGRTM|SIG_|NULL$|__)/.test(name));
    const expressions = new Map(names.map((name) => [name, name]));
    // Structures that their own headers do not include.
    const head = `#include <stdint.h>\n#include <linux/types.h>\n#include <asm/termbits.h>\n#include <${header}>`;
    for (const [name, value] of valuesOf(architecture, head, expressions)) all.set(name, all.get(name) ?? value);
  }
  return all;
}

function syscallsOf(architecture: Architecture): Map<string, bigint> {
  const head = '#include <asm/unistd.h>';
  const { stdout } = compile(architecture, `${head}\n`, '-E', '-dD');
  const expressions = new Map<string, string>();
  for (const [, prefix = '', name = ''] of stdout.matchAll(/^#define __(ARM_)?NR_([a-z0-9_]+) /gm)) {
    if (name !== 'syscalls' && name !== 'arch_specific_syscall')
      expressions.set(prefix + name, `__${prefix}NR_${name}`);
  }
  return valuesOf(architecture, head, expressions);
}

const kernel = /LINUX_VERSION_CODE (\d+)/.exec(
  compile('x86_64', '#include <linux/version.h>\n', '-E', '-dD').stdout,
)?.[1];
const version = `${Number(kernel) >> 16}.${(Number(kernel) >> 8) & 255}`;

function write(file: string, what: string, tables: ReadonlyMap<Architecture, ReadonlyMap<string, bigint>>): void {
  const names = [...new Set(Array.from(tables.values(), (table) => [...table.keys()]).flat())].sort();
  const rows = names.map((name) => {
    const values = ARCHITECTURES.map((architecture) => {
      const value = tables.get(architecture)?.get(name);
      const bits = architecture === 'arm' ? 32 : 64;
      return value === undefined ? '-' : `${BigInt.asUintN(bits, value)}`;
    });
    return `${name} ${new Set(values).size === 1 ? values[0] : values.join(' ')}`;
  });
  const head = `# ${what}, from the headers of Linux ${version}: ${ARCHITECTURES.join(' ')}, or one value for all.`;
  writeFileSync(
    join(import.meta.dirname, '../plugins/sandbox/tables', file),
    `${head}\n# Made by scripts/policy-tables.ts.\n${rows.join('\n')}\n`,
  );
  console.log(`${file}: ${rows.length} rows`);
}

const make = (table: (architecture: Architecture) => Map<string, bigint>) =>
  new Map(ARCHITECTURES.map((architecture) => [architecture, table(architecture)]));
write('syscalls.txt', 'Numbers of system calls', make(syscallsOf));
write('constants.txt', 'Values of constants', make(constantsOf));
rmSync(folder, { recursive: true });
