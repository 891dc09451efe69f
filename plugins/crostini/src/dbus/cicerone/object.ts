// The object of org.chromium.VmCicerone on a bus.

import { type Answer, DBUS_ERRORS, DBusError, type ExportedInterface, type MethodHandler } from '@runtime/sdk/dbus';
import { ciceroneWire } from '../../wire/index.ts';
import { type CiceroneDesk, ciceroneHandlers } from './handlers.ts';
import { type EmitSignal, INTERFACE, METHODS, type MethodName, type MethodRow } from './methods.ts';
import { UNSUPPORTED } from './unsupported.ts';

export function ciceroneObject(desk: CiceroneDesk, emit: EmitSignal): ExportedInterface {
  const handlers = ciceroneHandlers(desk, emit) as Readonly<Partial<Record<MethodName, AnyHandler>>>;
  const methods = Object.keys(METHODS).map((name) => [name, serve(name as MethodName, handlers)] as const);
  return { spec: INTERFACE, methods: Object.fromEntries(methods) };
}

type AnyHandler = (request: unknown) => Promise<object | void>;

function serve(name: MethodName, handlers: Readonly<Partial<Record<MethodName, AnyHandler>>>): MethodHandler {
  const { request, response }: MethodRow = METHODS[name];
  const handler = handlers[name];
  if (handler === undefined) {
    const why = (UNSUPPORTED as Readonly<Record<string, string>>)[name];
    return () => {
      throw new DBusError(DBUS_ERRORS.notSupported, `${name} is not supported: ${why}`);
    };
  }
  return async (args): Promise<Answer> => {
    const answer = await handler(decode(request, args[0] as Uint8Array));
    if (response === undefined) return [ciceroneWire.encode('vm_tools.EmptyMessage', {})];
    return [ciceroneWire.encode(`vm_tools.cicerone.${response}`, answer as object)];
  };
}

function decode(name: MethodRow['request'], bytes: Uint8Array): unknown {
  try {
    return ciceroneWire.decode(`vm_tools.cicerone.${name}`, bytes);
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e);
    throw new DBusError(DBUS_ERRORS.invalidArgs, `Unable to parse ${name} from message: ${why}`);
  }
}
