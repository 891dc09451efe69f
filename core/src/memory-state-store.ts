// The state store of a runtime without a state directory: nothing outlives it.

import type { StateStore } from './state-store.ts';

export function createMemoryStateStore(): StateStore {
  const documents = new Map<string, string>();
  return {
    directory: '',
    read: async (name) => {
      const text = documents.get(name);
      return text === undefined ? undefined : (JSON.parse(text) as unknown);
    },
    write: async (name, value) => {
      documents.set(name, JSON.stringify(value));
    },
    remove: async (name) => {
      documents.delete(name);
    },
    list: async () => [...documents.keys()].sort(),
  };
}
