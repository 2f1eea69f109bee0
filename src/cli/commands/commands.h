// The commands, one file each. Each parses its words, calls, renders, and returns the exit code.
#pragma once

#include "cli/app.h"

namespace container::cli {

int ContainerCreate(Invocation& call);
int ContainerDelete(Invocation& call);
int ContainerExec(Invocation& call);
int ContainerInspect(Invocation& call);
int ContainerKill(Invocation& call);
int ContainerList(Invocation& call);
int ContainerLogs(Invocation& call);
int ContainerPrune(Invocation& call);
int ContainerRun(Invocation& call);
int ContainerStart(Invocation& call);
int ContainerStop(Invocation& call);
int ContainerRestart(Invocation& call);
int ContainerWait(Invocation& call);

int ImageDelete(Invocation& call);
int ImageHistory(Invocation& call);
int ImageInspect(Invocation& call);
int ImageList(Invocation& call);
int ImageLoad(Invocation& call);
int ImagePrune(Invocation& call);
int ImagePull(Invocation& call);
int ImagePush(Invocation& call);
int ImageSave(Invocation& call);
int ImageTag(Invocation& call);

int RegistryList(Invocation& call);
int RegistryLoginCommand(Invocation& call);
int RegistryLogout(Invocation& call);

int SystemDf(Invocation& call);
int SystemDoctor(Invocation& call);
int SystemKernelSet(Invocation& call);
int SystemLogs(Invocation& call);
int SystemPrune(Invocation& call);
int SystemStart(Invocation& call);
int SystemStatusCommand(Invocation& call);
int SystemStop(Invocation& call);
int SystemVersion(Invocation& call);

}  // namespace container::cli
