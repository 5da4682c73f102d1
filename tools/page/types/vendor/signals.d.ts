export interface Signal<T> { value: T; peek(): T }
export function signal<T>(begin: T): Signal<T>;
export function effect(work: () => void): () => void;
