#!/bin/sh
# Starts one job: RULE MEMORY[MB] TIME[min] THREADS GPUS SCRIPT. Prints its name, such as job.batch/build-x7k2p.
set -eu
image=registry.example.org/rankwise:latest # an image with a shell, in which this Python's folder is mounted
claim=study                                # the persistent volume claim
mounted=/study                             # where this machine and the pods have it
name=$(echo "$1" | tr _ -)
gpus=""
if [ "$5" -gt 0 ]; then gpus=", nvidia.com/gpu: $5"; fi
kubectl create --output=name --filename=- <<JOB
apiVersion: batch/v1
kind: Job
metadata: {generateName: "$name-"}
spec:
  backoffLimit: 0
  activeDeadlineSeconds: $(($3 * 60))
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: job
          image: $image
          workingDir: "$PWD"
          command: [sh, "$6"]
          resources:
            requests: {cpu: $4, memory: ${2}M}
            limits: {memory: ${2}M$gpus}
          volumeMounts: [{name: study, mountPath: $mounted}]
      volumes: [{name: study, persistentVolumeClaim: {claimName: $claim}}]
JOB
