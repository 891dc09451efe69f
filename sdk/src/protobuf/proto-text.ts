// A table as a .proto file, for programs in other languages.

import type { Field, ProtoTable } from './table.ts';

/** @param name of the package @param imports other files, as they are imported */
export function protoText(name: string, table: ProtoTable, imports: readonly string[] = []): string {
  const lines = ['syntax = "proto3";', '', `package ${name};`, ''];
  if (imports.length > 0) lines.push(...imports.map((file) => `import "${file}";`), '');
  const tree = new Scope();
  for (const [full, numbers] of Object.entries(table.enums)) tree.at(relative(full, name)).enum = numbers;
  for (const [full, fields] of Object.entries(table.messages)) tree.at(relative(full, name)).fields = fields;
  for (const [child, scope] of tree.inner) lines.push(...scope.text(child), '');
  for (const [full, methods] of Object.entries(table.services)) {
    lines.push(`service ${full.slice(name.length + 1)} {`);
    for (const [method, [request, response, streams]] of Object.entries(methods)) {
      const from = streams === 'client' || streams === 'both' ? 'stream ' : '';
      const to = streams === 'server' || streams === 'both' ? 'stream ' : '';
      lines.push(`  rpc ${method}(${from}.${request}) returns (${to}.${response});`);
    }
    lines.push('}', '');
  }
  return lines.join('\n');
}

const relative = (full: string, name: string): string[] => {
  if (!full.startsWith(`${name}.`)) throw new TypeError(`${full} is not in the package ${name}`);
  return full.slice(name.length + 1).split('.');
};

class Scope {
  readonly inner = new Map<string, Scope>();
  enum: Readonly<Record<string, number>> | undefined;
  fields: Readonly<Record<string, Field>> | undefined;

  at(path: readonly string[]): Scope {
    const [first, ...rest] = path;
    if (first === undefined) return this;
    let scope = this.inner.get(first);
    if (scope === undefined) {
      scope = new Scope();
      this.inner.set(first, scope);
    }
    return scope.at(rest);
  }

  text(name: string): string[] {
    if (this.enum !== undefined) {
      return [`enum ${name} {`, ...Object.entries(this.enum).map(([value, n]) => `  ${value} = ${n};`), '}'];
    }
    const body: string[] = [];
    for (const [child, scope] of this.inner) body.push(...scope.text(child));
    const choices = new Map<string, string[]>();
    for (const [field, [number, type, label]] of Object.entries(this.fields ?? {})) {
      const line = `${typeText(type)} ${field} = ${number};`;
      if (label?.startsWith('oneof ') !== true) body.push(label === undefined ? line : `${label} ${line}`);
      else choices.set(label, [...(choices.get(label) ?? []), line]);
    }
    for (const [choice, fields] of choices) body.push(`${choice} {`, ...fields.map((line) => `  ${line}`), '}');
    return [`message ${name} {`, ...body.map((line) => `  ${line}`), '}'];
  }
}

const typeText = (type: string): string => (type.includes('.') && !type.startsWith('map<') ? `.${type}` : type);
