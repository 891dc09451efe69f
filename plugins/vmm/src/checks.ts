// What `runtime doctor` looks at before anybody boots a VM.

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { CheckRegistry, CheckResult } from '@runtime/sdk';
import { IoUring } from '@runtime/sdk/linux';
import type { KvmProbe } from './machine/qemu/kvm-probe.ts';
import { findFirmware, findProgram } from './machine/qemu/programs.ts';

const run = promisify(execFile);
/** QEMU whose vhost-user devices accept a back end that comes back; older ones were not tried. */
const LEAST_QEMU = [7, 2] as const;

export function addChecks(checks: CheckRegistry, qemu: string, probe: KvmProbe): void {
  checks.add('qemu', () => checkQemu(qemu));
  checks.add('kvm', () => checkKvm(qemu, probe));
  checks.add('guest-network', checkPasst);
  checks.add('io-uring', checkIoUring);
}

async function checkQemu(qemu: string): Promise<CheckResult> {
  const program = findProgram(qemu);
  const remedy = `Install it: apt-get install qemu-system-x86; or name it in settings.vmm.config.qemu.`;
  if (program === undefined) return { status: 'fail', found: `there is no ${qemu}`, remedy };
  const { stdout } = await run(program, ['--version']);
  const [, version = '', major = '', minor = ''] = /version ((\d+)\.(\d+)\S*)/.exec(stdout) ?? [];
  const number = Number(major) * 1000 + Number(minor);
  if (number < LEAST_QEMU[0] * 1000 + LEAST_QEMU[1]) {
    return { status: 'warn', found: `QEMU ${version}`, remedy: `Use ${LEAST_QEMU.join('.')} or newer.` };
  }
  if (findFirmware() === undefined) {
    return {
      status: 'warn',
      found: `QEMU ${version} without qboot.rom`,
      remedy: 'Install it: apt-get install qemu-system-data.',
    };
  }
  return { status: 'ok', found: `QEMU ${version}` };
}

async function checkKvm(qemu: string, probe: KvmProbe): Promise<CheckResult> {
  const program = findProgram(qemu);
  if (program === undefined)
    return { status: 'warn', found: 'not tried: there is no QEMU', remedy: 'Install QEMU first.' };
  const { works, why } = await probe.result(program);
  if (works) return { status: 'ok', found: why };
  const remedy = existsSync('/dev/kvm')
    ? 'VMs run all the same, several times slower (TCG). Let this user open /dev/kvm, or use a computer whose KVM has hardware below it.'
    : 'VMs run all the same, several times slower (TCG). Switch virtualization on in the firmware and load kvm_intel or kvm_amd.';
  return { status: 'warn', found: why, remedy };
}

async function checkPasst(): Promise<CheckResult> {
  const program = findProgram('passt');
  if (program !== undefined) {
    const { stdout } = await run(program, ['--version']).catch(() => ({ stdout: '' }));
    return { status: 'ok', found: stdout.split('\n')[0]?.slice(0, 80) || 'passt' };
  }
  return {
    status: 'warn',
    found: "no passt: guests use QEMU's own user-mode network",
    remedy: 'Install it: apt-get install passt.',
  };
}

function checkIoUring(): CheckResult {
  using ring = IoUring.create(4);
  if (ring !== undefined) return { status: 'ok', found: 'the kernel offers it' };
  const release = readFileSync('/proc/version', 'utf8').split(' ')[2] ?? '';
  return {
    status: 'warn',
    found: `the kernel (${release}) does not offer it to this user: disks are slower`,
    remedy: 'sysctl kernel.io_uring_disabled=0, or Linux 5.19 and newer.',
  };
}
