export interface VNode { readonly type: unknown }
export function h(type: unknown, props: unknown, ...children: unknown[]): VNode;
export function render(node: VNode, place: Element | null): void;
