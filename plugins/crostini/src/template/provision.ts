// What a template says of the inside of a guest, done in one that has just started: users, then scripts.

import { createHash } from 'node:crypto';
import { callMaitred } from '../concierge/maitred.ts';
import type { ImageProfile } from '../contract.ts';
import { errors } from '../errors.ts';
import { type GuestRun, runInShell } from './guest-shell.ts';
import type { Template, TemplateScript, TemplateUser } from './schema.ts';

export interface ProvisionedGuest {
  readonly vm: string;
  readonly profile: ImageProfile;
  /** Of its sockets. */
  readonly directory: string;
  /** A line that a script has written, as it is. */
  readonly onLine: (script: string, line: string) => void;
  readonly onStage: (stage: string) => void;
  readonly signal: AbortSignal;
}

const SCRIPT_SECONDS = 600;
/** Of what is not the template's own. */
const OWN_SECONDS = 60;
/** Only root looks into it. */
const MARKERS = '/mnt/stateful/.runtime/provisioned';
/** Where homes lie, which the root file system has no room for. */
const HOMES: Readonly<Record<ImageProfile, string>> = { full: '/mnt/stateful/home', fast: '/run/home' };

/** @throws CROSTINI_ERR_TEMPLATE_ONCE, CROSTINI_ERR_TEMPLATE_USER, CROSTINI_ERR_TEMPLATE_SCRIPT */
export async function provision({ users = [], scripts = [] }: Template, guest: ProvisionedGuest): Promise<void> {
  expectDisk(scripts, guest.profile);
  if (users.length > 0) await makeUsers(users, guest);
  for (const [at, script] of scripts.entries()) await runScript(script, scriptName(script, at), guest);
}

export const scriptName = ({ name }: TemplateScript, at: number): string => name ?? String(at + 1);

/** @throws CROSTINI_ERR_TEMPLATE_ONCE */
export function expectDisk(scripts: readonly TemplateScript[], profile: ImageProfile): void {
  const at = scripts.findIndex(({ when }) => when === 'once');
  const script = scripts[at];
  if (profile === 'full' || script === undefined) return;
  throw errors.CROSTINI_ERR_TEMPLATE_ONCE({ details: { script: scriptName(script, at) } });
}

// Users

/** Over /home, with what is mounted there; then a home for each that has none, whole or not at all. */
const MAKE_HOMES = `
set -e
base=$1
shift
mkdir -p "$base/chronos"
if ! mountpoint -q /home; then
  mount --bind /home/chronos "$base/chronos"
  mount --rbind "$base" /home
fi
for user; do
  uid=\${user#*:}
  home=/home/\${user%%:*}
  if [ -d "$home" ]; then
    owner=$(stat -c %u "$home")
    [ "$owner" = "$uid" ] && continue
    echo "$home is there, and belongs to number $owner" >&2
    exit 1
  fi
  rm -rf "$home.new"
  if [ -d /etc/skel ]; then cp -r /etc/skel "$home.new"; else mkdir "$home.new"; fi
  chmod 0755 "$home.new"
  chown -R "$uid:$uid" "$home.new"
  mv "$home.new" "$home"
done
`;

async function makeUsers(users: readonly TemplateUser[], guest: ProvisionedGuest): Promise<void> {
  const { vm, profile, directory, signal } = guest;
  const refuse = (user: string, why: string, cause?: unknown): Error =>
    errors.CROSTINI_ERR_TEMPLATE_USER({ details: { vm, user, why }, ...(cause === undefined ? {} : { cause }) });
  guest.onStage('making users');
  const homes = users.map(({ name, uid }) => `${name}:${uid}`);
  const { code, tail } = await asRoot(guest, MAKE_HOMES, [HOMES[profile], ...homes]);
  if (code !== 0) throw refuse(users.map(({ name }) => name).join(', '), tail.at(-1) ?? `exit code ${code}`);
  using maitred = callMaitred(directory);
  for (const { name, uid, groups = [] } of users) {
    const request = { username: name, uid, group_names: groups };
    const options = { deadlineMs: OWN_SECONDS * 1_000, signal };
    const answer = await maitred.call.SetUpUser(request, options).catch((e: unknown) => {
      signal.throwIfAborted();
      throw refuse(name, e instanceof Error ? e.message : String(e), e);
    });
    if (!answer.success) throw refuse(name, answer.failure_reason.slice(0, 512) || 'maitred does not say why');
  }
}

// Scripts

async function runScript(script: TemplateScript, name: string, guest: ProvisionedGuest): Promise<void> {
  const { vm, directory, signal, onLine, onStage } = guest;
  const { run, user = 'root', timeout: seconds = SCRIPT_SECONDS } = script;
  const marker = script.when === 'once' ? `${MARKERS}/${markerOf(user, run)}` : undefined;
  if (marker !== undefined && (await asRoot(guest, 'test -e "$1"', [marker])).code === 0) return;
  onStage(`script ${name}`);
  const outcome = await runInShell({
    ...{ directory, user, text: run, args: [], seconds, signal },
    onLine: (line) => onLine(name, line),
  });
  if (outcome.code !== 0) throw failed(vm, name, outcome, seconds);
  if (marker === undefined) return;
  const { code, tail } = await asRoot(guest, MARK, [MARKERS, marker]);
  if (code !== 0) throw failed(vm, `${name} (its mark)`, { code, tail }, OWN_SECONDS);
}

/** After all that the script has written. */
const MARK = 'mkdir -p -m 0700 "$1"; sync -f "$1"; : > "$2"; sync "$2"';

/** One with another text, or for another user, is another script. */
function markerOf(user: string, run: string): string {
  return createHash('sha256')
    .update(JSON.stringify([user, run]))
    .digest('hex');
}

function failed(vm: string, script: string, { code, tail }: GuestRun, seconds: number): Error {
  const why = code === undefined ? `did not end within ${seconds} s` : `ended with exit code ${code}`;
  const output =
    tail.length === 0
      ? ', and has written nothing'
      : `. Its last lines:\n${tail.map((line) => `  ${line}`).join('\n')}`;
  return errors.CROSTINI_ERR_TEMPLATE_SCRIPT({ details: { vm, script, why, output } });
}

function asRoot(guest: ProvisionedGuest, text: string, args: readonly string[]): Promise<GuestRun> {
  const { directory, signal } = guest;
  return runInShell({ directory, user: 'root', text, args, seconds: OWN_SECONDS, signal });
}
