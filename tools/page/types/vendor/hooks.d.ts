export function useState<T>(begin: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
export function useEffect(work: () => void | undefined | (() => void), on?: readonly unknown[]): void;
export function useRef<T>(begin: T): { current: T };
export function useMemo<T>(make: () => T, on: readonly unknown[]): T;
export function useCallback<T extends (...given: never[]) => unknown>(work: T, on: readonly unknown[]): T;
