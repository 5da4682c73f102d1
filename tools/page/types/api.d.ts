// What the API answers, as routes/*.py tell it. Only the checker of the page's types reads this file.

export type Wrong = { what: string; remedy: string };
export type Name = string;
export type Box = [number, number, number, number];
export type Kind = "character" | "prop" | "location";
export type State = "queued" | "running" | "cancelling" | "done" | "failed" | "cancelled" | "quarantined";
export type Verdict = "carried" | "not carried" | "cannot tell";

export interface Asked {
  sheet: string; scene?: Name | null; action?: string; prompt?: string; first_frame?: string; adapter?: Name; preset?: string | null;
  seed?: number; force?: boolean; settings?: { steps?: number; frames?: number; strength?: Record<Name, number>; [name: string]: unknown };
  run?: Name;
}
export interface Job {
  id: string; position: number; kind: "take" | "shots" | "fill" | "encode" | "train"; state: State; label: string; request: Asked; asked_by: string; losses: number;
  step: number; steps: number; message: string; error: Wrong | null; previews: number; created: number; started: number | null; ended: number | null;
  result: { take?: string; shots?: Name; element?: Name; look?: Name; run?: Name; set?: Name } | null;
}
export interface Picture {
  id: string; view: string; confidence: number; unsure: boolean; reason: string; label: string; approved: boolean; shown: boolean;
}
export interface Look {
  id: Name; look: Name; kind: Kind; description: string; importance: number; human: boolean; missing: string[]; pictures: Picture[]; trouble?: Wrong;
}
export interface SceneElement { use: string | null; own: Name | null; id: Name; kind: Kind; importance: number; description?: string }
export interface Scene {
  id: Name; title: string; action: string; elements: SceneElement[]; pins: Record<string, Box>; settings: Record<string, unknown>; trouble?: Wrong;
}
export interface Finding {
  rule: string; severity: "error" | "warning" | "info"; message: string; remedy: string; meaning: string; mends: boolean; where: Box | null;
}
export interface Panel { name: string; element: Name; kind: Kind; view: string; box: Box }
export interface Sheet {
  id: string; sha256: string; width: number; height: number; seen: { width: number; height: number; cell: number }; panels: Panel[]; cells: Box[];
  elements: Name[]; reference: string; doubts: string[]; score: { covered: number; smallest: number; gap: number } | null; findings: Finding[]; done: string[];
}
export interface Take {
  id: string; label: string; request: Asked; sheet: string; elements: Name[]; action: string; seed: number; preset: string; state: Verdict; score: number;
  verdict: string; seconds: number; star: boolean; stale: Name[]; video: { sha256: string; frames: number; fps: number };
}
export interface Judged {
  frames: number; sampled: number[]; leak: { leaked: boolean[] };
  problems: { grave: boolean; element: Name | null; message: string; frames: number[] }[];
  elements: { id: Name; state: Verdict; why: string; coverage: number; similarity: number[] }[];
}
export interface ShotRow {
  id: string; action: string; seed: number | null; takes: number | null; continues: boolean; result: { passed: boolean; verdict: string; reason: string } | null;
}
export interface ShotList { id: Name; takes: number | null; film: boolean; joined: string | null; shots: ShotRow[]; trouble?: Wrong }
export interface Run {
  id: Name; preset: string; steps: number | null; set: Name | null; held_out: Name | null; step: number; loss: number | null; held_out_loss: number | null;
  seconds: number; finished: boolean; checkpoints: number[]; pictures: { step: number; number: number }[]; samples: { action: string }[]; trouble?: Wrong;
}
export interface Line { step: number[]; value: number[] }
export type Curves = Record<"loss" | "smooth" | "held_out" | "rate" | "gradient", Line>;
export interface Counts { found: number; accepted: number; rejected: number; quarantined: number }
export interface Summary { films?: Counts; windows?: Counts; pairs: Counts; split?: Record<string, number> }
export interface Pairs {
  id: Name; summary: Summary; count: number; pairs: { id: string; caption: string; split: string; title: string; licence: string }[];
  rejects: { rule: string; meaning: string; count: number; units: { unit: string; value: string; limit: string }[] }[];
}
export interface System {
  version: string; who: { name: Name; role: "viewer" | "maker" | "owner" }; trouble: Wrong | null; paused: boolean | null; last_event: number;
  model: { name: string; width: number; height: number } | null;
}
export interface Person { name: Name; role: string; token: string }
export type Change = { id: string; what: string } | null;

/** What a path answers. A path of two patterns takes the first. */
export type Found<P extends string> =
  P extends "/elements" ? { elements: Look[]; views: string[] } :
  P extends `/elements/${string}/pictures?${string}` ? Look & { added: string[]; known: boolean } :
  P extends `/elements/${string}/apart?${string}` ? Look & { added: string[]; doubts: string[]; left: number } :
  P extends `/elements/${string}/fill` ? { jobs: Job[] } :
  P extends `/elements/${string}` ? Look & { etag: string } :
  P extends "/scenes" ? { scenes: Scene[] } :
  P extends `/scenes/${string}/sheet` ? Sheet :
  P extends `/scenes/${string}` ? Scene & { etag: string } :
  P extends `/sheets/${string}` ? Sheet :
  P extends "/jobs" ? { jobs: Job[]; paused: boolean; last_event: number } :
  P extends `/jobs/${string}` ? Job :
  P extends `/takes/${string}/judgement` ? { clips: Judged[] } :
  P extends `/takes/${string}/sidecar` ? Record<string, unknown> :
  P extends `/takes/${string}/frames` ? { id: string } :
  P extends `/takes/${string}/again` ? { jobs: Job[] } :
  P extends `/takes/${string}` ? Take :
  P extends "/takes" | `/takes?${string}` ? { takes: Take[] } :
  P extends "/shots" ? { lists: ShotList[] } :
  P extends `/shots/${string}/make` ? { jobs: Job[] } :
  P extends `/shots/${string}` ? ShotList & { etag: string } :
  P extends "/frames" ? { frames: string[]; id: string } :
  P extends "/sets" ? { sets: { id: Name; samples: number | null }[] } :
  P extends "/runs" ? { runs: Run[] } :
  P extends `/runs/${string}/curves` ? Curves :
  P extends `/runs/${string}/train` ? { jobs: Job[] } :
  P extends `/runs/${string}` ? Run & { etag: string } :
  P extends "/pairs" ? { results: { id: Name; summary: Summary; trouble?: Wrong }[] } :
  P extends `/pairs/${string}` ? Pairs :
  P extends "/presets" ? { usual: Record<string, unknown> & { name: string; steps: number; frames: number }; presets: Record<string, Record<string, unknown>> } :
  P extends "/system" ? System :
  P extends "/undo" ? { undo: Change } :
  P extends "/people" ? { people: Person[] } & Person :
  P extends "/log" ? { log: { id: number; at: number; person: Name; method: string; path: string; status: number }[] } :
  unknown;
