export default class Plot {
  constructor(options: object, data: readonly (readonly (number | null)[])[], place: Element);
  setSize(size: { width: number; height: number }): void;
  setData(data: readonly (readonly (number | null)[])[]): void;
  destroy(): void;
}
