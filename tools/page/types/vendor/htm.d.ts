import type { VNode } from "./preact.js";

type Shown = string | number | boolean | null | undefined | object | ((event: any) => unknown);

declare const htm: {
  bind(h: (type: unknown, props: unknown, ...children: unknown[]) => VNode): (strings: TemplateStringsArray, ...shown: Shown[]) => VNode;
};
export default htm;
