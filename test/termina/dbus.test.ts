// A VM as a program in Python sees it, over libdbus and with messages that protoc has compiled: started with a disk by
// descriptor, followed, resized, stopped, and its disk exported and destroyed.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { hasDbusDaemon, type PrivateBus, startPrivateBus } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasPython, PYTHON, writeProtos } from '../../plugins/crostini/src/dbus/test-python.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const run = promisify(execFile);
const missing = lacking() ?? (hasDbusDaemon() && hasPython() ? undefined : 'dbus-daemon, or python3-dbus and protoc');
const MIN = 60_000;
const OWNER = 'a1b2c3';

const CLIENT = `
import hashlib, json, os, sys, threading
import dbus, dbus.bus, dbus.mainloop.glib
from gi.repository import GLib
import concierge_pb2 as pb

address, owner, extra, exported = sys.argv[1:]
NAME, PATH = 'org.chromium.VmConcierge', '/org/chromium/VmConcierge'
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(address)
concierge = dbus.Interface(bus.get_object(NAME, PATH), NAME)
loop = GLib.MainLoop()
signals, done = [], {}

def on_signal(payload, member):
    kind = 'DiskImageStatusResponse' if member == 'DiskImageProgress' else member
    message = getattr(pb, kind)()
    message.ParseFromString(bytes(payload))
    if member == 'DiskImageProgress':
        if message.status != pb.DISK_STATUS_IN_PROGRESS: done[message.command_uuid] = pb.DiskImageStatus.Name(message.status)
    else:
        signals.append(member)
bus.add_signal_receiver(on_signal, dbus_interface=NAME, bus_name=NAME, member_keyword='member', byte_arrays=True)

def until(is_so):
    GLib.timeout_add(50, lambda: loop.quit() if is_so() else True)
    GLib.timeout_add_seconds(60, loop.quit)
    loop.run()
    assert is_so()

def call(member, request, response, *more):
    data = dbus.ByteArray(request.SerializeToString())
    answer = concierge.get_dbus_method(member)(data, *more, byte_arrays=True, timeout=400)
    message = response()
    message.ParseFromString(bytes(answer))
    return message

def fds(*files):
    return dbus.Array([dbus.types.UnixFd(one) for one in files], signature='h')

def job(answer):
    assert answer.command_uuid, answer.failure_reason
    until(lambda: answer.command_uuid in done)
    return done[answer.command_uuid]

disk = dict(cryptohome_id=owner, vm_name='py')
result = {}
made = call('CreateDiskImage', pb.CreateDiskImageRequest(disk_size=1 << 31, image_type=pb.DISK_IMAGE_AUTO, **disk), pb.CreateDiskImageResponse, fds())
result['made'] = pb.DiskImageStatus.Name(made.status)
start = pb.StartVmRequest(name='py', owner_id=owner, start_termina=True, disks=[pb.DiskImage(path=made.disk_path, writable=True)])
start.fds.append(pb.StartVmRequest.STORAGE)
started = call('StartVm', start, pb.StartVmResponse, fds(os.open(extra, os.O_RDONLY)))
result['started'] = [started.success, pb.VmStatus.Name(started.status), started.failure_reason]
result['listed'] = [vm.name for vm in call('ListVms', pb.ListVmsRequest(owner_id=owner), pb.ListVmsResponse).vms]
result['resized'] = job(call('ResizeDiskImage', pb.ResizeDiskImageRequest(disk_size=3 << 30, **disk), pb.ResizeDiskImageResponse))
print('running', flush=True)
sys.stdin.readline()
result['stopped'] = call('StopVm', pb.StopVmRequest(name='py', owner_id=owner), pb.SuccessFailureResponse).success
until(lambda: 'VmStoppedSignal' in signals)
out = os.open(exported, os.O_RDWR | os.O_CREAT)
digest = os.memfd_create('digest')
request = pb.ExportDiskImageRequest(generate_sha256_digest=True, **disk)
result['exported'] = job(call('ExportDiskImage', request, pb.ExportDiskImageResponse, fds(out, digest)))
result['digest'] = os.pread(digest, 64, 0).decode().lower()
result['destroyed'] = pb.DiskImageStatus.Name(call('DestroyDiskImage', pb.DestroyDiskImageRequest(**disk), pb.DestroyDiskImageResponse).status)
result['signals'] = signals
print(json.dumps(result), flush=True)
`;

describe.skipIf(missing !== undefined)(`The D-Bus${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let daemon: PrivateBus;
  let rig: TerminaRig;

  beforeAll(async () => {
    daemon = await startPrivateBus();
    rig = new TerminaRig({ dbus: daemon.address });
    await rig.open();
  }, 10 * MIN);
  afterAll(async () => {
    await rig.close();
    await daemon[Symbol.asyncDispose]();
  }, MIN);

  test(
    'has all that a VM needs, for a program in another language',
    async () => {
      const folder = join(rig.folder, 'client');
      mkdirSync(folder);
      writeProtos(folder);
      await run('protoc', [`--python_out=${folder}`, `--proto_path=${folder}`, 'arc.proto', 'concierge.proto']);
      writeFileSync(join(folder, 'client.py'), CLIENT);
      const [extra, exported] = [join(folder, 'extra.img'), join(folder, 'py.zst')];
      writeFileSync(extra, 'what the host has written'.padEnd(4096, '\0'));
      const running = run(PYTHON, [join(folder, 'client.py'), daemon.address, OWNER, extra, exported]);
      const { child } = running;
      await new Promise<void>((resolve) => {
        child.stdout?.once('data', () => resolve());
        child.once('exit', () => resolve());
      });
      // Only looked at while it runs: its owner is not the one of the runtime's user.
      const vms = await rig.termina.listVms({ owner: OWNER });
      child.stdin?.write('\n');
      const { stdout } = await running;
      const { digest, ...told } = JSON.parse(stdout.split('\n')[1] ?? '') as { digest: string };
      expect(vms).toMatchObject([{ name: 'py', state: 'running', profile: 'full' }]);
      expect(told).toEqual({
        made: 'DISK_STATUS_CREATED',
        started: [true, 'VM_STATUS_RUNNING', ''],
        listed: ['py'],
        resized: 'DISK_STATUS_RESIZED',
        stopped: true,
        exported: 'DISK_STATUS_CREATED',
        destroyed: 'DISK_STATUS_DESTROYED',
        signals: ['VmStartingUpSignal', 'VmStartedSignal', 'VmStoppingSignal', 'VmStoppedSignal'],
      });
      expect(digest).toBe(createHash('sha256').update(readFileSync(exported)).digest('hex'));
    },
    8 * MIN,
  );
});
