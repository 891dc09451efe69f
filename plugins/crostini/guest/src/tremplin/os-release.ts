// os-release(5) of a container.

export interface OsRelease {
  readonly pretty_name: string;
  readonly name: string;
  readonly version: string;
  readonly version_id: string;
  readonly id: string;
}

const FIELDS = ['pretty_name', 'name', 'version', 'version_id', 'id'] as const;
const VALUE_MAX = 256;

export function parseOsRelease(text: string): OsRelease {
  const found: Record<(typeof FIELDS)[number], string> = {
    pretty_name: '',
    name: '',
    version: '',
    version_id: '',
    id: '',
  };
  for (const line of text.slice(0, 64 * 1024).split('\n')) {
    const at = line.indexOf('=');
    const field = FIELDS.find((each) => each.toUpperCase() === line.slice(0, at).trim());
    if (at > 0 && field !== undefined) found[field] = unquoted(line.slice(at + 1).trim()).slice(0, VALUE_MAX);
  }
  return found;
}

/** As of a shell, without what a shell would put in. */
function unquoted(value: string): string {
  const [, quote, inner] = /^(["'])(.*)\1$/.exec(value) ?? [];
  if (inner === undefined) return value;
  return quote === '"' ? inner.replaceAll(/\\(["\\$`])/g, '$1') : inner;
}
