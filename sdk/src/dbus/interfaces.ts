// What an object offers, as data, and as the XML that others read:
// https://dbus.freedesktop.org/doc/dbus-specification.html#introspection-format

/** Name and type, such as `['request', 'ay']`. */
export type Argument = readonly [name: string, type: string];

export interface MethodSpec {
  readonly in?: readonly Argument[];
  readonly out?: readonly Argument[];
  /** Other signatures that are taken, such as those of older clients; nobody is told of them. */
  readonly accepts?: RegExp;
}

export interface InterfaceSpec {
  readonly methods?: Readonly<Record<string, MethodSpec>>;
  readonly signals?: Readonly<Record<string, readonly Argument[]>>;
  readonly properties?: Readonly<
    Record<string, { readonly type: string; readonly access: 'read' | 'write' | 'readwrite' }>
  >;
}

/** What each object has. */
export const STANDARD: Readonly<Record<string, InterfaceSpec>> = {
  'org.freedesktop.DBus.Introspectable': { methods: { Introspect: { out: [['xml', 's']] } } },
  'org.freedesktop.DBus.Peer': { methods: { Ping: {}, GetMachineId: { out: [['id', 's']] } } },
  'org.freedesktop.DBus.Properties': {
    methods: {
      Get: {
        in: [
          ['interface', 's'],
          ['property', 's'],
        ],
        out: [['value', 'v']],
      },
      GetAll: { in: [['interface', 's']], out: [['values', 'a{sv}']] },
      Set: {
        in: [
          ['interface', 's'],
          ['property', 's'],
          ['value', 'v'],
        ],
      },
    },
    signals: {
      PropertiesChanged: [
        ['interface', 's'],
        ['changed', 'a{sv}'],
        ['invalidated', 'as'],
      ],
    },
  },
};

export function signatureOf(args: readonly Argument[] = []): string {
  return args.map(([, type]) => type).join('');
}

const DOCTYPE = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">`;

/** `children`: names of the objects below it. */
export function introspectionXml(
  interfaces: Readonly<Record<string, InterfaceSpec>>,
  children: Iterable<string>,
): string {
  const lines = [DOCTYPE, '<node>'];
  for (const [name, spec] of Object.entries(interfaces)) lines.push(...describeInterface(name, spec));
  for (const child of children) lines.push(`  <node name="${child}"/>`);
  lines.push('</node>', '');
  return lines.join('\n');
}

// Names and types were checked when the object was exported: none holds what XML would have to escape.
function describeInterface(name: string, { methods = {}, signals = {}, properties = {} }: InterfaceSpec): string[] {
  const args = (list: readonly Argument[] | undefined, direction: string): string[] =>
    (list ?? []).map(([arg, type]) => `      <arg name="${arg}" type="${type}"${direction}/>`);
  const lines = [`  <interface name="${name}">`];
  for (const [method, spec] of Object.entries(methods)) {
    lines.push(`    <method name="${method}">`);
    lines.push(...args(spec.in, ' direction="in"'), ...args(spec.out, ' direction="out"'), '    </method>');
  }
  for (const [signal, list] of Object.entries(signals))
    lines.push(`    <signal name="${signal}">`, ...args(list, ''), '    </signal>');
  for (const [property, { type, access }] of Object.entries(properties))
    lines.push(`    <property name="${property}" type="${type}" access="${access}"/>`);
  lines.push('  </interface>');
  return lines;
}
