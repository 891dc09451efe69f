// Errors on the way through a bus: the names that others see, and what became of ours.

import { isRuntimeError } from '@runtime/core/errors';
import { errors } from '../errors.ts';
import { isName } from './names.ts';

/** https://dbus.freedesktop.org/doc/api/html/group__DBusProtocol.html */
export const DBUS_ERRORS = {
  failed: 'org.freedesktop.DBus.Error.Failed',
  invalidArgs: 'org.freedesktop.DBus.Error.InvalidArgs',
  unknownMethod: 'org.freedesktop.DBus.Error.UnknownMethod',
  unknownObject: 'org.freedesktop.DBus.Error.UnknownObject',
  unknownInterface: 'org.freedesktop.DBus.Error.UnknownInterface',
  unknownProperty: 'org.freedesktop.DBus.Error.UnknownProperty',
  propertyReadOnly: 'org.freedesktop.DBus.Error.PropertyReadOnly',
  notSupported: 'org.freedesktop.DBus.Error.NotSupported',
  accessDenied: 'org.freedesktop.DBus.Error.AccessDenied',
  limitsExceeded: 'org.freedesktop.DBus.Error.LimitsExceeded',
  serviceUnknown: 'org.freedesktop.DBus.Error.ServiceUnknown',
  nameHasNoOwner: 'org.freedesktop.DBus.Error.NameHasNoOwner',
} as const;

/** What a handler throws to answer with an error of its own choice. */
export class DBusError extends Error {
  override readonly name: string = 'DBusError';
  readonly dbusName: string;

  constructor(dbusName: string, message: string) {
    super(message);
    this.dbusName = isName('error name', dbusName) ? dbusName : DBUS_ERRORS.failed;
  }
}

/** An error reply to a call of ours; with `name`, only that one. */
export function isRemoteError(e: unknown, name?: string): boolean {
  return isRuntimeError(e, 'SDK_ERR_DBUS_REMOTE') && (name === undefined || e.details.name === name);
}

/** How an error is told to a caller on the bus. */
export function errorReply(e: unknown, prefix: string): { readonly name: string; readonly message: string } {
  // NUL cannot be sent, and neither can half a character.
  const text = (message: string): string => message.replaceAll('\0', '').toWellFormed().slice(0, 4096);
  if (e instanceof DBusError) return { name: e.dbusName, message: text(e.message) };
  if (!isRuntimeError(e))
    return { name: DBUS_ERRORS.failed, message: text(e instanceof Error ? e.message : String(e)) };
  const full = e.dbus.includes('.') ? e.dbus : `${prefix}.${e.dbus}`;
  return {
    name: isName('error name', full) ? full : DBUS_ERRORS.failed,
    message: text(e.remedy === '' ? e.message : `${e.message}. ${e.remedy}`),
  };
}

export function remoteError(details: { service: string; method: string; name: string; why: string }) {
  return errors.SDK_ERR_DBUS_REMOTE({ details });
}
