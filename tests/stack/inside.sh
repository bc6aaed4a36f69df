# shellcheck shell=bash disable=SC2154 # BUCKET, SECRET and others are variables of docs/DEPLOY.md
# For the script that guide.py prints: `inside` types the blocks for inside the network, which it reads from stdin, into
# another shell than that of the other blocks.

# A shell that keeps its variables and functions from one block to the next.
session() {
    bash -euo pipefail -c 'touch inside.state; . ./inside.state; . ./inside.sh
        { declare -p | grep -v "^declare -[a-zA-Z]*r"; declare -f; } >inside.state'
}

# On the local stack it is on the same machine.
inside() {
    cat >inside.sh
    session
}

# On AWS it is on an instance in the private subnet, which finds its blocks in the bucket.
serve() {
    for step in $(seq 1000); do
        until aws s3 cp --only-show-errors "s3://$bucket/logins/inside/$step.sh" inside.sh; do sleep 5; done
        session >inside.out 2>&1
        echo "status $?" >>inside.out
        aws s3 cp --only-show-errors inside.out "s3://$bucket/logins/inside/$step.out"
    done
}

enter() {
    {
        echo '#!/bin/bash'
        declare -f session serve
        echo "cd /root; export HOME=/root AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION; bucket=$BUCKET; serve"
    } >inside.user-data
    aws iam create-role --role-name logins-inside --assume-role-policy-document \
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
    aws iam put-role-policy --role-name logins-inside --policy-name inside --policy-document "{\"Version\":\"2012-10-17\",\"Statement\":[
        {\"Effect\":\"Allow\",\"Action\":[\"s3:ListBucket\",\"s3:GetObject\",\"s3:PutObject\"],\"Resource\":[\"arn:aws:s3:::$BUCKET\",\"arn:aws:s3:::$BUCKET/*\"]},
        {\"Effect\":\"Allow\",\"Action\":\"secretsmanager:GetSecretValue\",\"Resource\":[\"$ADMINISTRATOR\",\"$SECRET\"]},
        {\"Effect\":\"Allow\",\"Action\":\"rds-db:connect\",\"Resource\":\"*\"}]}"
    aws iam create-instance-profile --instance-profile-name logins-inside
    aws iam add-role-to-instance-profile --instance-profile-name logins-inside --role-name logins-inside
    # A new profile is known everywhere only after some seconds.
    until INSTANCE=$(aws ec2 run-instances --instance-type t3.micro --subnet-id "$SUBNET_A" \
        --image-id resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64 \
        --security-group-ids "$FUNCTION_GROUP" --iam-instance-profile Name=logins-inside \
        --user-data file://inside.user-data --query 'Instances[0].InstanceId' --output text); do sleep 10; done
    inside() {
        echo >>inside.steps
        step=$(wc -l <inside.steps)
        aws s3 cp --only-show-errors - "s3://$BUCKET/logins/inside/$step.sh"
        until aws s3 cp "s3://$BUCKET/logins/inside/$step.out" inside.out >/dev/null 2>&1; do sleep 5; done
        sed '/^status [0-9]*$/d' inside.out
        grep -qx 'status 0' inside.out
    }
    declare -p AWS_DEFAULT_REGION BUCKET PGHOST ADMINISTRATOR | inside
}

leave() {
    aws ec2 terminate-instances --instance-ids "$INSTANCE"
    aws ec2 wait instance-terminated --instance-ids "$INSTANCE"
    aws iam remove-role-from-instance-profile --instance-profile-name logins-inside --role-name logins-inside
    aws iam delete-instance-profile --instance-profile-name logins-inside
    aws iam delete-role-policy --role-name logins-inside --policy-name inside
    aws iam delete-role --role-name logins-inside
}
