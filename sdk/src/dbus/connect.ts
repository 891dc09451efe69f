// Connecting to a bus: each socket that its address names, until one answers.

import { errors } from '../errors.ts';
import { connectUnix } from '../linux/index.ts';
import { busAddress, socketsOf } from './address.ts';
import { Bus } from './bus.ts';
import type { ConnectOptions } from './bus-types.ts';

/**
 * Connects to a message bus, as the user of this process.
 * @throws SDK_ERR_DBUS_ADDRESS, SDK_ERR_DBUS_CONNECT
 */
export async function connectBus(options: ConnectOptions): Promise<Bus> {
  options.signal?.throwIfAborted();
  const address = busAddress(options.bus);
  if (address === undefined)
    throw errors.SDK_ERR_DBUS_CONNECT({ details: { address: options.bus, why: 'this session has none' } });
  let failure: unknown;
  for (const socket of socketsOf(address)) {
    try {
      return await connectSocket(socket, address, options);
    } catch (e) {
      options.signal?.throwIfAborted();
      failure = e;
    }
  }
  const why = failure instanceof Error ? failure.message : String(failure);
  throw errors.SDK_ERR_DBUS_CONNECT({ details: { address, why } });
}

async function connectSocket(socket: string, address: string, options: ConnectOptions): Promise<Bus> {
  const { timeoutMs = 10_000, signal } = options;
  const bus = new Bus(connectUnix(socket), address, options);
  let timer: NodeJS.Timeout | undefined;
  const give = Promise.withResolvers<never>();
  const onAbort = (): void => give.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    timer = setTimeout(() => give.reject(new Error(`it does not answer within ${timeoutMs} ms`)), timeoutMs);
    await Promise.race([bus.begin(), give.promise]);
    return bus;
  } catch (e) {
    await bus.close();
    throw e;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
