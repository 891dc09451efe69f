// What is meant when nothing is named, as in ChromeOS.

export const DEFAULT_VM = 'termina';
export const DEFAULT_CONTAINER = 'penguin';
