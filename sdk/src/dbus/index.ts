// The D-Bus: connections to message buses, calls and objects, signals, and descriptors that go with them.

export { type BusName, busAddress } from './address.ts';
export { Bus } from './bus.ts';
export type {
  BusLimits,
  CallRequest,
  ConnectOptions,
  Credentials,
  NameOptions,
  OwnedName,
  Reply,
  Signal,
} from './bus-types.ts';
export { connectBus } from './connect.ts';
export { DBUS_ERRORS, DBusError, isRemoteError } from './dbus-error.ts';
export { type Argument, type InterfaceSpec, introspectionXml, type MethodSpec } from './interfaces.ts';
export type { SignalRule } from './match.ts';
export type { Answer, CallContext, ExportedInterface, ExportedObject, MethodHandler } from './objects.ts';
export { type Value, type Variant, variant } from './value.ts';
