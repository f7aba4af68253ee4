import type { Refusal } from './http.ts';
import { refusal } from './http.ts';

/** A Mixpanel project that the sandbox knows. */
export interface SandboxProject {
  readonly id: string;
  readonly token: string;
  readonly secret?: string;
}

/** Whom the sandbox knows. What is not declared is not checked. */
export interface Access {
  /** Undeclared, the sandbox is one project: every token, secret and project id means it. */
  readonly projects?: readonly SandboxProject[];
  /** Service accounts, user name to secret. */
  readonly accounts?: Readonly<Record<string, string>>;
}

/** Which Basic users an endpoint takes besides service accounts. Source: Mixpanel docs "Authentication Methods". */
export interface Allowed {
  readonly token?: boolean;
  readonly secret?: boolean;
}

interface Credentials {
  readonly user: string;
  readonly password: string;
  readonly bearer: boolean;
}

const unauthorized = refusal(401, 'Invalid credentials');

/** Decides which project a request belongs to. */
export class Gate {
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  /**
   * The project of the credentials: a service account names it by `project_id`, a project token or secret is the
   * Basic user with no password. Sources: Mixpanel docs "Service Accounts", "Project Token", "Import Events".
   */
  project(authorization: string | undefined, projectId: string, allowed: Allowed): string | Refusal {
    const credentials = read(authorization);
    if (!credentials) return unauthorized;
    const { user, password, bearer } = credentials;
    if (!bearer && password === '') return this.#byUser(user, projectId, allowed);
    if (!bearer && !this.#knowsAccount(user, password)) return unauthorized;
    if (projectId === '') return refusal(400, 'project_id is required with a service account');
    const { projects } = this.#access;
    return !projects || projects.some((project) => project.id === projectId) ? projectId : unauthorized;
  }

  /** The user name of a service account, for endpoints that need no project. */
  account(authorization: string | undefined): string | Refusal {
    const credentials = read(authorization);
    if (!credentials || credentials.bearer || credentials.password === '') return unauthorized;
    return this.#knowsAccount(credentials.user, credentials.password) ? credentials.user : unauthorized;
  }

  /** The project of a token inside a record; undefined when no project has it. */
  ofToken(token: string): string | undefined {
    const { projects } = this.#access;
    return projects ? projects.find((project) => project.token === token)?.id : token;
  }

  /** What reads are restricted to; undefined when everything is one project. */
  visible(project: string): string | undefined {
    return this.#access.projects ? project : undefined;
  }

  projects(): readonly SandboxProject[] {
    return this.#access.projects ?? [{ id: '1', token: 'sandbox' }];
  }

  #byUser(user: string, projectId: string, allowed: Allowed): string | Refusal {
    const { projects } = this.#access;
    if (!projects) return projectId === '' ? user : projectId;
    const found = projects.find(
      ({ token, secret }) => (allowed.token && token === user) || (allowed.secret && secret === user),
    );
    return found ? found.id : unauthorized;
  }

  #knowsAccount(user: string, password: string): boolean {
    const { accounts } = this.#access;
    return accounts === undefined || (Object.hasOwn(accounts, user) && accounts[user] === password);
  }
}

/** The docs allow `Basic user:secret` without base64. Source: Mixpanel docs "Service Accounts". */
function read(authorization: string | undefined): Credentials | undefined {
  const [, scheme = '', value = ''] = /^\s*(\w+)\s+(\S.*?)\s*$/.exec(authorization ?? '') ?? [];
  if (scheme.toLowerCase() === 'bearer') return { user: '', password: value, bearer: true };
  if (scheme.toLowerCase() !== 'basic') return undefined;
  const pair = value.includes(':') ? value : Buffer.from(value, 'base64').toString();
  const colon = pair.indexOf(':');
  return colon < 1 ? undefined : { user: pair.slice(0, colon), password: pair.slice(colon + 1), bearer: false };
}
