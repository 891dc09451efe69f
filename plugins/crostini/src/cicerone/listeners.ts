// Ports 7778 and 8889 of the host: what tremplin and the containers of one VM tell it.

import type { Message } from '@runtime/sdk/protobuf';
import { type GuestListenerLimits, listenForGuest } from '../concierge/guest-listener.ts';
import { addRpcService } from '../rpc/rpc.ts';
import { containersWire } from '../wire/index.ts';

type Wire = typeof containersWire.table;
type TremplinService = Wire['services']['vm_tools.tremplin.TremplinListener'];
type Method = keyof TremplinService & string;
export type TremplinNews<M extends Method> = Message<Wire, TremplinService[M][0]>;

/** What tremplin tells of a container, or of LXD itself. */
export interface TremplinSink {
  ready(): void;
  lxd(news: TremplinNews<'UpdateStartLxdStatus'>): void;
  progress(news: ContainerNews): void;
  shutdown(container: string): void;
}

/** One of the phases that something with a container is in. */
export interface ContainerNews {
  readonly work: 'create' | 'delete' | 'start' | 'stop' | 'export' | 'import';
  readonly container: string;
  /** As the message has it. */
  readonly status: string;
  readonly reason: string;
  /** Whole percents, of a download. */
  readonly percent?: number;
}

const TREMPLIN_LIMITS: GuestListenerLimits = { maxMessage: 64 * 1024, maxCalls: 8 };
/** A container may have thousands of applications. */
const CONTAINER_LIMITS: GuestListenerLimits = { maxMessage: 4 * 1024 * 1024, maxCalls: 16 };
const NAME_MAX = 64;
const REASON_MAX = 1_000;

/** @param path of the socket; what lay there is replaced */
export function listenForTremplin(path: string, sink: TremplinSink): Promise<Disposable> {
  type Told = { readonly container_name: string; readonly status: string | number; readonly failure_reason: string };
  const tell = (work: ContainerNews['work'], news: Told, percent?: number): Promise<object> => {
    const { container_name: container, status, failure_reason: reason } = news;
    if (container.length <= NAME_MAX) {
      const more = percent === undefined ? {} : { percent: Math.min(100, Math.max(0, percent)) };
      sink.progress({ work, container, status: String(status), reason: reason.slice(0, REASON_MAX), ...more });
    }
    return Promise.resolve({});
  };
  const nothing = (): Promise<object> => Promise.resolve({});
  return listenForGuest(path, TREMPLIN_LIMITS, (server) =>
    addRpcService(server, containersWire, 'vm_tools.tremplin.TremplinListener', {
      TremplinReady: async () => {
        sink.ready();
        return {};
      },
      UpdateStartLxdStatus: async (news) => {
        sink.lxd({ ...news, failure_reason: news.failure_reason.slice(0, REASON_MAX) });
        return {};
      },
      UpdateCreateStatus: (news) => tell('create', news, news.download_progress),
      UpdateDeletionStatus: (news) => tell('delete', news),
      UpdateStartStatus: (news) => tell('start', news),
      UpdateStopStatus: (news) => tell('stop', news),
      UpdateExportStatus: (news) => tell('export', news),
      UpdateImportStatus: (news) => tell('import', news, news.progress_percent),
      ContainerShutdown: async ({ container_name: name }) => {
        if (name.length <= NAME_MAX) sink.shutdown(name);
        return {};
      },
      UpdateListeningPorts: nothing,
    }),
  );
}

export interface ContainerSink {
  /** @throws CROSTINI_ERR_CONTAINER_TOKEN when no container has this token */
  ready(info: { readonly token: string; readonly garconPort: number }): Promise<void>;
  /** @throws CROSTINI_ERR_CONTAINER_TOKEN */
  shutdown(token: string): void;
  /** @throws CROSTINI_ERR_CONTAINER_TOKEN */
  expectToken(token: string): void;
}

/** @param path of the socket; what lay there is replaced */
export function listenForContainers(path: string, sink: ContainerSink): Promise<Disposable> {
  /** What a container tells that nobody here has a use for yet; only if it is one. */
  const noted = async ({ token }: { readonly token: string }): Promise<object> => {
    sink.expectToken(token);
    return {};
  };
  return listenForGuest(path, CONTAINER_LIMITS, (server) =>
    addRpcService(server, containersWire, 'vm_tools.container.ContainerListener', {
      ContainerReady: async ({ token, garcon_port: garconPort }) => {
        await sink.ready({ token, garconPort });
        return {};
      },
      ContainerShutdown: async ({ token }) => {
        sink.shutdown(token);
        return {};
      },
      UpdateApplicationList: noted,
      PendingUpdateApplicationListCalls: noted,
      OpenUrl: noted,
      InstallLinuxPackageProgress: noted,
      UninstallPackageProgress: noted,
      ApplyAnsiblePlaybookProgress: noted,
      OpenTerminal: noted,
      UpdateMimeTypes: noted,
      FileWatchTriggered: noted,
      LowDiskSpaceTriggered: noted,
      ForwardSecurityKeyMessage: async () => ({}),
      SelectFile: noted,
      ReportMetrics: noted,
      InstallShaderCache: noted,
      UninstallShaderCache: noted,
      UnmountShaderCache: noted,
      InhibitScreensaver: noted,
      UninhibitScreensaver: noted,
    }),
  );
}
