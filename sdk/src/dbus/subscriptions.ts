// Who wants which signals. The bus sends only those that a match rule asks for, and tells their sender by its unique name.

import type { Signal } from './bus-types.ts';
import { matches, matchRule, type SignalRule } from './match.ts';
import { type Incoming, readBody } from './message.ts';
import { DAEMON } from './names.ts';
import type { Value } from './value.ts';

/** Whoever has left the bus. */
export const LEAVING: string = `${matchRule({ sender: DAEMON, interface: DAEMON, member: 'NameOwnerChanged' })},arg2=''`;
const ownerRule = (name: string): string =>
  matchRule({ sender: DAEMON, interface: DAEMON, member: 'NameOwnerChanged', arg0: name });

export interface SubscriptionsOptions {
  /** Calls a method of the bus itself, which answers nothing. */
  daemon(member: string, signature: string, args: readonly Value[]): Promise<void>;
  ownerOf(name: string): Promise<string | undefined>;
  /** The connection has ended, and with it all that the bus knew of it. */
  isOver(): boolean;
  onProblem(problem: unknown): void;
}

interface Owner {
  owner: string | undefined;
  users: number;
  /** A signal told, which may be ahead of an answer. */
  wasTold: boolean;
  ready: Promise<void>;
}

interface Subscription {
  readonly rule: SignalRule;
  readonly signature: string | undefined;
  readonly listener: (signal: Signal) => void;
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #all = new Set<Subscription>();
  readonly #rules = new Map<string, number>();
  readonly #owners = new Map<string, Owner>();

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** See Bus.subscribe(). */
  async add(
    rule: SignalRule,
    listener: (signal: Signal) => void,
    signature: string | undefined,
  ): Promise<AsyncDisposable> {
    const text = matchRule(rule);
    const subscription: Subscription = { rule, signature, listener };
    const { sender } = rule;
    const isWellKnown = sender !== undefined && sender !== DAEMON && !sender.startsWith(':');
    let isReleased = false;
    const release = async (): Promise<void> => {
      if (isReleased) return;
      isReleased = true;
      this.#all.delete(subscription);
      if (this.#options.isOver()) return;
      try {
        if (isWellKnown) await this.#forgetOwner(sender);
        await this.#removeRule(text);
      } catch (e) {
        if (!this.#options.isOver()) throw e;
      }
    };
    this.#all.add(subscription);
    try {
      if (isWellKnown) await this.#knowOwner(sender);
      await this.addRule(text);
    } catch (e) {
      this.#all.delete(subscription);
      if (isWellKnown) await this.#forgetOwner(sender).catch(() => {});
      throw e;
    }
    return { [Symbol.asyncDispose]: release };
  }

  /** A signal, to all who want it. */
  tell(message: Incoming): void {
    for (const subscription of [...this.#all]) {
      const { rule, signature, listener } = subscription;
      if (!this.#all.has(subscription) || !matches(rule, message, this.#senderOf(rule))) continue;
      if (signature !== undefined && signature !== message.signature) continue;
      try {
        // Descriptors are not passed on, and an index into none is refused.
        const values = readBody(message, []);
        if (rule.arg0 !== undefined && values[0] !== rule.arg0) continue;
        const { sender = '', path = '', member = '' } = message;
        listener({ sender, path, interface: message.interface ?? '', member, values });
      } catch (e) {
        this.#options.onProblem(e);
      }
    }
  }

  /** @param owner empty: nobody */
  ownerChanged(name: string, owner: string): void {
    const known = this.#owners.get(name);
    if (known !== undefined) Object.assign(known, { owner: owner || undefined, wasTold: true });
  }

  /** The connection has ended. */
  clear(): void {
    this.#all.clear();
  }

  async addRule(rule: string): Promise<void> {
    const count = this.#rules.get(rule) ?? 0;
    this.#rules.set(rule, count + 1);
    // Each is added as often as it is used: the bus counts as well, and nobody has to wait for somebody else's.
    try {
      await this.#options.daemon('AddMatch', 's', [rule]);
    } catch (e) {
      this.#countDown(rule);
      throw e;
    }
  }

  async #removeRule(rule: string): Promise<void> {
    if (this.#countDown(rule)) await this.#options.daemon('RemoveMatch', 's', [rule]);
  }

  #countDown(rule: string): boolean {
    const count = this.#rules.get(rule) ?? 0;
    if (count <= 1) this.#rules.delete(rule);
    else this.#rules.set(rule, count - 1);
    return count > 0;
  }

  #senderOf({ sender }: SignalRule): string | undefined {
    if (sender === undefined || sender === DAEMON || sender.startsWith(':')) return sender;
    return this.#owners.get(sender)?.owner;
  }

  async #knowOwner(name: string): Promise<void> {
    const known = this.#owners.get(name);
    if (known !== undefined) {
      known.users++;
      return known.ready;
    }
    const find = async (): Promise<void> => {
      await this.addRule(ownerRule(name));
      const owner = await this.#options.ownerOf(name);
      if (!entry.wasTold) entry.owner = owner;
    };
    const entry: Owner = { owner: undefined, users: 1, wasTold: false, ready: Promise.resolve() };
    this.#owners.set(name, entry);
    entry.ready = find();
    return entry.ready;
  }

  async #forgetOwner(name: string): Promise<void> {
    const known = this.#owners.get(name);
    if (known === undefined || --known.users > 0) return;
    this.#owners.delete(name);
    await this.#removeRule(ownerRule(name));
  }
}
